# Somebody else than root traces; root has the workload, which asks the page map for frame numbers.
chmod 777 .
three=+bpf,+perfmon,+syslog
/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps $three --ambient-caps $three \
    cowtrace stream --format json --record x.cow >s & child=$!
until [ -s x.cow ]; do kill -0 $child || break; usleep 100000; done
echo "{\"type\":\"user\",\"uid\":$(stat -c %u /proc/$child)}"
cowtrace provoke io-uring/4k/dontneed --pages 3
kill -TERM $child; wait $child; status=$?
cat s
exit $status
