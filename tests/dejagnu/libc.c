/* As much of a C library as gdb's test programs need on bare metal. Output goes to COM1, integers alone are formatted. */
#include <stdarg.h>
#include <stddef.h>

extern char heap[];

static void out(unsigned short port, unsigned char value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

void *memcpy(void *to, const void *from, size_t n) {
  char *t = to;
  for (const char *f = from; n-- > 0;) *t++ = *f++;
  return to;
}

void *memmove(void *to, const void *from, size_t n) {
  char *t = to;
  const char *f = from;
  if (t < f) return memcpy(to, from, n);
  while (n-- > 0) t[n] = f[n];
  return to;
}

void *memset(void *to, int value, size_t n) {
  for (char *t = to; n-- > 0;) *t++ = (char)value;
  return to;
}

int memcmp(const void *a, const void *b, size_t n) {
  const unsigned char *x = a, *y = b;
  for (; n > 0; n--, x++, y++) if (*x != *y) return *x - *y;
  return 0;
}

size_t strlen(const char *s) {
  size_t n = 0;
  while (s[n] != 0) n++;
  return n;
}

char *strcpy(char *to, const char *from) {
  memcpy(to, from, strlen(from) + 1);
  return to;
}

char *strncpy(char *to, const char *from, size_t n) {
  size_t i = 0;
  for (; i < n && from[i] != 0; i++) to[i] = from[i];
  for (; i < n; i++) to[i] = 0;
  return to;
}

char *strcat(char *to, const char *from) {
  strcpy(to + strlen(to), from);
  return to;
}

int strcmp(const char *a, const char *b) {
  while (*a != 0 && *a == *b) a++, b++;
  return (unsigned char)*a - (unsigned char)*b;
}

int atoi(const char *s) {
  int value = 0;
  for (; *s >= '0' && *s <= '9'; s++) value = 10 * value + *s - '0';
  return value;
}

/* Never given back: the programs are small, and end. */
void *malloc(size_t n) {
  static char *next = heap;
  char *at = next;
  next += (n + 15) & ~(size_t)15;
  return at;
}

void *calloc(size_t n, size_t size) {
  return memset(malloc(n * size), 0, n * size);
}

void free(void *at) {
  (void)at;
}

int putchar(int c) {
  out(0x3f8, (unsigned char)c);
  return c;
}

int puts(const char *s) {
  while (*s != 0) putchar(*s++);
  return putchar('\n');
}

static void number(unsigned long value, unsigned base) {
  if (value >= base) number(value / base, base);
  putchar("0123456789abcdef"[value % base]);
}

int vprintf(const char *format, va_list list) {
  for (; *format != 0; format++) {
    if (*format != '%') {
      putchar(*format);
      continue;
    }
    int wide = 0;
    while (*++format == 'l' || *format == 'z' || (*format >= '0' && *format <= '9')) wide |= *format == 'l';
    long value = 0;
    switch (*format) {
      case 's':
        for (const char *s = va_arg(list, const char *); *s != 0;) putchar(*s++);
        break;
      case 'c':
        putchar(va_arg(list, int));
        break;
      case 'd':
      case 'i':
        value = wide ? va_arg(list, long) : va_arg(list, int);
        if (value < 0) putchar('-');
        number(value < 0 ? 0 - (unsigned long)value : (unsigned long)value, 10);
        break;
      case 'u':
      case 'x':
        number(wide ? va_arg(list, unsigned long) : va_arg(list, unsigned), *format == 'u' ? 10 : 16);
        break;
      case 'p':
        number((unsigned long)va_arg(list, void *), 16);
        break;
      default:
        putchar(*format);
    }
  }
  return 0;
}

int printf(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vprintf(format, list);
  va_end(list);
  return 0;
}

int fflush(void *stream) {
  (void)stream;
  return 0;
}

void exit(int status) {
  out(0xf4, (unsigned char)status);
  for (;;) __asm__ volatile("cli; hlt");
}

void abort(void) {
  exit(1);
}
