/* vsock connect PORT | vsock listen PORT: standard input to a stream of AF_VSOCK, then what comes back to standard output. */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void copy(int from, int to)
{
	char bytes[65536];
	ssize_t n;

	while ((n = read(from, bytes, sizeof bytes)) > 0)
		for (ssize_t done = 0; done < n;) {
			ssize_t m = write(to, bytes + done, n - done);

			if (m <= 0) {
				perror("write");
				exit(1);
			}
			done += m;
		}
}

int main(int argc, char **argv)
{
	struct sockaddr_vm at = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc != 3 || fd < 0)
		return 2;
	at.svm_port = atoi(argv[2]);
	if (strcmp(argv[1], "listen") == 0) {
		at.svm_cid = VMADDR_CID_ANY;
		if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1)) {
			perror("listen");
			return 1;
		}
		fprintf(stderr, "LISTENING\n");
		fd = accept(fd, NULL, NULL);
	} else if (connect(fd, (struct sockaddr *)&at, sizeof at)) {
		perror("connect");
		return 1;
	}
	copy(0, fd);
	shutdown(fd, SHUT_WR);
	copy(fd, 1);
	return 0;
}
