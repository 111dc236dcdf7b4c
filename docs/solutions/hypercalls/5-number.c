// The same without any library.

#include <stdint.h>

static void out32(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

void _start(void) {
    out32(0x300, 7);
    out32(0x300, 42);
    out32(0x300, 4000000000u);
    out8(0xF4, 0);
    for (;;) __asm__ volatile("hlt");
}
