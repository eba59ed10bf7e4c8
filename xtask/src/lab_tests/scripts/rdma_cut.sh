# A file is cut to nothing while a client has it registered and another writes to it, both with regions alike.
cat >clients <<'END'
file=/dev/shm/buffer
truncate -s 1M $file
ib_write_bw -F -x 1 -D 60 -s 65536 --mmap=$file >&2 & server=$!
until grep -q ':4853 .* 0A ' /proc/net/tcp /proc/net/tcp6; do usleep 20000; done
ib_write_bw -F -x 1 -D 60 -s 65536 127.0.0.1 >&2 & client=$!
regions() { rdma -j resource show mr | sed 's/[][]//g; s/},{/}\n{/g; s/{/{"type":"region",/g'; }
until [ "$(regions | grep -c mrlen)" = 2 ]; do usleep 20000; done
regions
start=0x$(grep $file /proc/$server/maps | cut -d - -f 1)
printf '{"type":"cut","pid":%d,"address":%d}\n' $server $start
truncate -s 0 $file
kill $client $server
wait
END
cowtrace stream --format json -- sh -c "sh clients >p" >s
status=$?; cat p s; exit $status
