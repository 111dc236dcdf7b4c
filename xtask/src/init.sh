#!/bin/busybox sh
# The first process in the machine of `cargo xtask test --kvm-amd`: loads KVM, runs the commands
# /cases/0/run, /cases/1/run, ... with their input, and sends on the second serial port how each
# ended and what it printed. What goes wrong here is to be read on the first, the console.
# KEPT is how many bytes of a stream are sent, DEADLINE_S when a command is killed.
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in $MODULES; do insmod "/modules/$module"; done

exec 3>/dev/ttyS1
stty raw <&3
case=0
while [ -e "/cases/$case" ]; do
    echo "@start $case" >&3
    # A pipe, since what prints for as long as it may would fill the memory.
    { timeout -s KILL "$DEADLINE_S" sh "/cases/$case/run" <"/cases/$case/in" 2>/tmp/err
        echo $? >/tmp/code; } | { head -c "$KEPT" >/tmp/out; cat >/dev/null; }
    { echo @out; base64 /tmp/out; echo @err; head -c "$KEPT" /tmp/err | base64
        echo "@end $(cat /tmp/code)"; } >&3
    case=$((case + 1))
done
poweroff -f
