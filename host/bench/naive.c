// The floor of `cargo xtask bench`: a guest run by bare ioctls in the order in which a C tutorial
// has them, from an ELF file to its exit code. No library, no checks that a tutorial leaves out.
//
//     cc -O2 -static -o naive naive.c && ./naive GUEST
//
// The guest ends by `out 0xf4, al`; a byte to port 0xe9 is printed. The process's code is the
// guest's, or 125 where KVM refused something.

#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// As much memory as `portcall run` gives.
#define MEMORY (16UL << 20)

static long must(long result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(125);
    }
    return result;
}

static void *mapped(void *address, const char *what) {
    must(address == MAP_FAILED ? -1 : 0, what);
    return address;
}

// Copies the segments to where they ask to be, and says where the guest starts.
static uint64_t load(const char *path, uint8_t *memory) {
    int fd = must(open(path, O_RDONLY), path);
    struct stat stat;
    must(fstat(fd, &stat), "fstat");
    uint8_t *file = malloc(stat.st_size);
    if (!file || read(fd, file, stat.st_size) != stat.st_size) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(125);
    }
    close(fd);
    Elf64_Ehdr *header = (Elf64_Ehdr *)file;
    Elf64_Phdr *segment = (Elf64_Phdr *)(file + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD)
            memcpy(memory + segment[i].p_paddr, file + segment[i].p_offset, segment[i].p_filesz);
    }
    uint64_t entry = header->e_entry;
    free(file);
    return entry;
}

// Steps 5 to 7: long mode with three tables, one to one over the memory.
static void long_mode(struct kvm_sregs *sregs, uint8_t *memory) {
    uint64_t *pml4 = (uint64_t *)(memory + 0x1000);
    uint64_t *pdpt = (uint64_t *)(memory + 0x2000);
    uint64_t *pd = (uint64_t *)(memory + 0x3000);
    pml4[0] = 0x2000 | 3;
    pdpt[0] = 0x3000 | 3;
    for (uint64_t i = 0; i < MEMORY >> 21; i++)
        pd[i] = (i << 21) | 0x83;
    sregs->cr3 = 0x1000;
    sregs->cr4 = 1 << 5;                // PAE
    sregs->cr0 = (1UL << 31) | 0x33;    // PG, NE, ET, MP, PE
    sregs->efer = (1 << 10) | (1 << 8); // LMA, LME
    struct kvm_segment flat = {
        .limit = 0xffffffff, .selector = 0x8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    sregs->cs = flat;
    flat.selector = 0x10;
    flat.type = 3;
    flat.l = 0;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = flat;
}

// Steps 10 and 11: runs the guest until it exits, and gives its code.
static int run_to_exit(int vcpu, struct kvm_run *run) {
    for (;;) {
        must(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT) {
            fprintf(stderr, "unexpected exit %u\n", run->exit_reason);
            exit(125);
        }
        uint8_t value = *((uint8_t *)run + run->io.data_offset);
        if (run->io.port == 0xf4)
            return value;
        if (run->io.port == 0xe9)
            must(write(1, &value, 1), "write");
    }
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: naive GUEST\n");
        return 125;
    }
    // A guest that goes on for ever is not to hold up what measures this.
    alarm(60);
    // 1: a VM.
    int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
    // 2: its memory.
    uint8_t *memory = mapped(mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
                             "mmap");
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY,
                                                 .userspace_addr = (uint64_t)memory};
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    // 3 and 4: a vCPU and its kvm_run.
    int vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    long size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    struct kvm_run *run =
        mapped(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0), "kvm_run");
    // 5 to 7: the system registers.
    struct kvm_sregs sregs;
    must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    long_mode(&sregs, memory);
    must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    // 9 comes before 8 here: the file says where the guest starts.
    struct kvm_regs regs = {.rip = load(words[1], memory), .rsp = MEMORY, .rflags = 2};
    must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    // 10 and 11.
    int code = run_to_exit(vcpu, run);
    // 12.
    must(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
    fprintf(stderr, "exited with code %d at %#llx\n", code, regs.rip);
    return code;
}
