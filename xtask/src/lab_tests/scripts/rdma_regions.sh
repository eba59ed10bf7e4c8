# Two processes with a memory region each, of which one discards its pages.
cat >regions <<'END'
created() { until [ -e "$1" ]; do usleep 20000; done; }
cowtrace provoke rdma/4k/nothing --pages 5 --ready other --hold 600 >/dev/null & created other
cowtrace provoke rdma/4k/dontneed --pages 3 --ready ready --after go & child=$!
created ready
rdma -j resource show mr | sed 's/[][]//g; s/},{/}\n{/g; s/{/{"type":"region",/g'
touch go
wait $child
END
cowtrace stream --format json -- sh -c "sh regions >p" >s
status=$?; cat p s; exit $status
