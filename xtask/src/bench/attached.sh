# Started by a tool when it is attached: the time, and what the tool's processes have taken of a CPU by now.
now=$(sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list)
processes=$PPID
for child in $(cat /proc/$PPID/task/*/children); do
    # This shell is one, too.
    [ "$child" = $$ ] || processes="$processes $child"
done
cpu=$(for process in $processes; do cat /proc/$process/task/*/schedstat; done | awk '{ sum += $1 } END { printf "%.0f\n", sum }')
echo "attached $now $cpu"
