# Three pairs of RDMA clients under trace, then a server that goes on waiting with its region registered.
cat >clients <<'END'
# The server's port, 18515, in state LISTEN.
listening() { until grep -q ':4853 .* 0A ' /proc/net/tcp /proc/net/tcp6; do usleep 20000; done; }
ended() { echo "{\"type\":\"client\",\"status\":$?}"; }
pair() {
    (timeout 60 "$@" >&2; ended) &
    listening
    timeout 60 "$@" 127.0.0.1 >&2; ended
    wait
}
pair ibv_rc_pingpong -g 1 -n 50 -s 100000
pair ib_write_bw -F -x 1 -n 20 -s 65536
pair ib_send_bw -F -x 1 -n 20 -s 65536
ibv_rc_pingpong -g 1 -s 100000 >/dev/null &
listening
rdma -j resource show mr | sed 's/[][]//g; s/},{/}\n{/g; s/{/{"type":"region",/g'
END
cowtrace stream --format json -- sh -c "sh clients >p" >s
status=$?; cat p s; exit $status
