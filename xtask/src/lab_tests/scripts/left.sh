# What is left of a cowtrace that has ended.
echo 1 >/proc/sys/net/core/bpf_jit_kallsyms

# Programs, maps and links by bpftool, what of programs and trampolines still has code, kprobes, what is pinned in
# bpffs, processes.
left() {
    for kind in prog map link; do bpftool $kind show | grep -c '^[0-9]'; done >counts
    echo $(cat counts) $(grep -c '\[bpf\]' /proc/kallsyms) $(wc -l </sys/kernel/debug/kprobes/list) \
        $(ls /sys/fs/bpf | wc -l) $(cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^cowtrace')
}
# Else this counts nothing.
attached() {
    set -- $(left)
    [ $1 -gt 20 ] && [ $2 -gt 10 ] && [ $3 -gt 20 ] && [ $4 -gt 20 ] && [ $7 -gt 0 ]
}
before=$(left)

# HOW WANTED: the last status, and what is left. The kernel frees programs a moment later; it has as long as the case.
ended() {
    status=$?
    until [ "$(left)" = "$before" ]; do usleep 100000; done
    echo "{\"type\":\"ended\",\"how\":\"$1\",\"status\":$status,\"wanted\":$2,\"left\":\"$(left)\"}"
}

