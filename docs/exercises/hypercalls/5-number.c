// The same without any library: print 7, 42 and 4000000000 by port 0x300, and end the guest with
// code 0 by one byte to port 0xF4.
//@ title: Print a number, in C
//@ points: 2
//@ host: course
//@ build: cc -static -nostdlib -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only -O2 -Wall -o $OUT $IN
//@ expect: exit=0 exits.port[0x300]=3

#include <stdint.h>

void _start(void) {
    for (;;) __asm__ volatile("hlt");
}
