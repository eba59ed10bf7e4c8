# What is left of a cowtrace that has ended.
echo 1 >/proc/sys/net/core/bpf_jit_kallsyms

# Programs and trampolines, kprobes, what is pinned in bpffs, processes.
left() {
    echo $(grep -c '\[bpf\]' /proc/kallsyms) $(wc -l </sys/kernel/debug/kprobes/list) \
        $(ls /sys/fs/bpf | wc -l) $(cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^cowtrace')
}
before=$(left)

# HOW WANTED: the last status, and what is left. The kernel frees programs a moment later; it has as long as the case.
ended() {
    status=$?
    until [ "$(left)" = "$before" ]; do usleep 100000; done
    echo "{\"type\":\"ended\",\"how\":\"$1\",\"status\":$status,\"wanted\":$2,\"left\":\"$(left)\"}"
}

