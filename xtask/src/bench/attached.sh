# Started by a tool when it is attached: the time, and what the tool has taken of a CPU by now.
now=$(sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list)
echo "attached $now $(cat /proc/$PPID/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f\n", sum }')"
