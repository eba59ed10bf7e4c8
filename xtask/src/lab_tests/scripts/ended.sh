# However a cowtrace ends: what is there afterwards is what was there before.
cycles() {
    for n in $(seq $1); do
        rm -f x.cow
        cowtrace record -o x.cow -- true 2>/dev/null || return
    done
}
cycles $([ -n "$LAB_FULL" ] && echo 200 || echo 2); ended by-itself 0 # On five kernels a thousand.

# Perhaps before, while or after it attaches.
for n in 1 2 3; do
    cowtrace record -o $n.cow 2>/dev/null & child=$!
    usleep ${n}234567
    kill -9 $child; wait $child; ended killed 137
done

cowtrace record -o hup.cow 2>/dev/null & child=$!
until [ -s hup.cow ]; do usleep 100000; done
attached || exit 9
kill -HUP $child; wait $child; ended hung-up 0
cowtrace replay --format json hup.cow | tail -1

# Two at a time, one inside the other.
cowtrace stream --format json -- \
    sh -c 'cowtrace stream --format json -- cowtrace provoke io-uring/4k/dontneed >inner' >outer
ended two 1
tail -n 1 inner; tail -n 1 outer
