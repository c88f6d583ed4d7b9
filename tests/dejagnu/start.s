# What is linked before a test program: entered by its PVH note in 32-bit protected mode, it switches to long mode
# with the first GiB mapped one to one, calls main(), and gives what that returned to the debug-exit port.

        .section .note.Xen, "a", @note
        .long   4, 4, 18                # XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   _start

        .section .text.start, "ax"
        .globl  _start
        .code32
_start:
        cli
        mov     $stack_top, %esp
        # A PML4 and a PDPT with one entry each, a PD with 512 pages of 2 MiB.
        movl    $pdpt + 3, pml4
        movl    $pd + 3, pdpt
        mov     $pd, %edi
        mov     $0x83, %eax
        mov     $512, %ecx
1:      mov     %eax, (%edi)
        movl    $0, 4(%edi)
        add     $0x200000, %eax
        add     $8, %edi
        dec     %ecx
        jnz     1b
        mov     %cr4, %eax
        or      $0x20, %eax             # PAE
        mov     %eax, %cr4
        mov     $pml4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       # EFER
        rdmsr
        or      $0x100, %eax            # LME
        wrmsr
        mov     %cr0, %eax
        or      $0x80000001, %eax       # PG, PE
        mov     %eax, %cr0
        lgdtl   gdt_pointer
        ljmpl   $0x08, $1f
        .code64
1:      mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_top, %rsp
        xor     %ebp, %ebp
        xor     %edi, %edi
        mov     $arguments, %esi
        mov     $arguments, %edx
        call    main
        mov     %eax, %edi
        call    exit

        .section .data
        .balign 8
gdt:    .quad   0, 0x00209b0000000000, 0x00cf93000000ffff
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt
        .balign 8
arguments:
        .quad   0

        .section .bss
        .balign 4096
pml4:   .skip   4096
pdpt:   .skip   4096
pd:     .skip   4096
        .skip   65536
stack_top:
