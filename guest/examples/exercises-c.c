// The classic exercises in C, with nothing but OUT and IN; host/examples/exercises.rs answers.
//@ build: cc -static -nostdlib -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only -O2 -Wall -o $OUT $IN
//@ host: exercises
// Five texts and a question are six exits, and nothing goes byte by byte.
//@ expect: exits.port[0x300]=8 exits.port[0x301]=6 exits.port[0xe9]=0

#include <stdint.h>

enum {
    NUMBER = 0x300,
    TEXT = 0x301,
    EXITS = 0x302,
    EXITS_OF_KIND = 0x303,
    ADDRESS = 0x304,
    GPA_LOW = 0x305,
    HVA_LOW = 0x307,
    EXIT = 0xF4,
};

static void out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void out32(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static void print8(uint8_t value) { out8(NUMBER, value); }

static void print32(uint32_t value) { out32(NUMBER, value); }

// The image lies below 4 GiB, so that its addresses fit.
static void print(const char *text) { out32(TEXT, (uint32_t)(uintptr_t)text); }

static uint32_t exits_of(uint8_t kind) {
    out8(EXITS_OF_KIND, kind);
    return in32(EXITS_OF_KIND);
}

// An address by its low half's port; the high half's is the next.
static uint64_t translated(const volatile void *address, uint16_t port) {
    out32(ADDRESS, (uint32_t)(uintptr_t)address);
    uint32_t low = in32(port);
    return low | (uint64_t)in32(port + 1) << 32;
}

static char pair[2] __attribute__((aligned(2)));

void _start(void) {
    print("Eight bits and thirty-two:\n");
    print8(200);
    print32(4000000000u);

    print("Exits so far:\n");
    print32(in32(EXITS));
    print("IN and OUT among them:\n");
    print32(exits_of(0));
    print32(exits_of(1));

    print("Guest-virtual to guest-physical to host-virtual:\n");
    uint64_t gva = (uintptr_t)pair;
    uint64_t gpa = translated(&pair[0], GPA_LOW);
    uint64_t hva = translated(&pair[0], HVA_LOW);
    print32(gpa == gva && gpa % 4096 == hva % 4096);
    print32(translated(&pair[1], HVA_LOW) - hva);
    // The null page is not mapped.
    print32(translated(0, GPA_LOW) == UINT64_MAX && translated(0, HVA_LOW) == UINT64_MAX);

    print(0);
    uint32_t refused = in32(TEXT);
    out32(EXIT, refused == UINT32_MAX ? 0 : 1);
    for (;;) __asm__ volatile("hlt");
}
