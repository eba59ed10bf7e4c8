# A cowtrace that is attached is asked to end, or has nobody left to tell.
for signal in TERM INT; do
    cowtrace record -o $signal.cow 2>/dev/null & child=$!
    until [ -s $signal.cow ]; do usleep 100000; done
    kill -$signal $child; wait $child; ended $signal 0
    cowtrace replay --format json $signal.cow | tail -1
done

mkfifo lines
cowtrace stream --format json >lines 2>/dev/null & child=$!
exec 3<lines; until attached; do usleep 100000; done; exec 3<&-
wait $child; ended unread 0
