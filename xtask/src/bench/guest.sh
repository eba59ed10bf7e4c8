# Measures in the guest: each load under each tool, in turns, one JSON object a line on stdout.
#
# A tool is on before the loads begin and stays on for all of them. What a load took is its own thread's; what the
# tool's processes took meanwhile is beside it, read when they sleep again.
tracing=/sys/kernel/tracing
disk=/dev/nullb0
traced=

now() {
    sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list
}

# The tool's processes, in $processes: the first and its children. Starts none: that would wake the tool.
find_processes() {
    processes=$pid
    for list in /proc/$pid/task/*/children; do
        children=
        read -r children <$list
        processes="$processes $children"
    done
}

# Nanoseconds on a CPU, all threads of the tool together.
tool_ns() {
    [ -z "$pid" ] && echo 0 && return
    find_processes
    for process in $processes; do cat /proc/$process/task/*/schedstat; done |
        awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

# Waits until the tool is done with what it was sent.
settle() {
    before_that=$(tool_ns)
    while sleep 1; do
        by_now=$(tool_ns)
        [ $((by_now - before_that)) -lt 20000000 ] && return
        before_that=$by_now
    done
}

field() {
    sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" /proc/$pid/status
}

# Waits a little; whether the tool is still there.
alive() {
    usleep 100000
    kill -0 $pid 2>/dev/null
}

start_nothing() { pid=; }
stop_nothing() { :; }

start_cowtrace() {
    rm -f x.cow
    cowtrace record -o x.cow 2>complaints & pid=$!
    until [ -e x.cow ]; do alive || { cat complaints >&2; exit 1; }; done
}
stop_cowtrace() {
    kill -INT $pid
    wait $pid
    status=$?
    # 0: nothing found and nothing missed.
    [ $status = 0 ] || grep '^  not seen' complaints >&2
}

start_bpftrace() {
    bpftrace /lab/bench/question.bt >counts 2>&1 & pid=$!
    until grep -q ready counts; do alive || { cat counts >&2; exit 1; }; done
}
stop_bpftrace() {
    kill -INT $pid
    wait $pid
}

# What ftrace is to trace, as far as this kernel has it, in $traced. Looked for once, since that is no part of attaching.
find_traced() {
    [ -n "$traced" ] && return
    for function in do_wp_page wp_page_copy pin_user_pages pin_user_pages_fast unpin_user_page unpin_user_pages \
        unpin_user_folio; do
        grep -q "^$function\$" $tracing/available_filter_functions && traced="$traced $function"
    done
}

attach_ftrace() {
    echo >$tracing/set_ftrace_filter
    for function in $traced; do echo $function >>$tracing/set_ftrace_filter; done
    echo function >$tracing/current_tracer
}

start_ftrace() {
    pid=
    find_traced
    attach_ftrace
}
stop_ftrace() {
    echo nop >$tracing/current_tracer
    echo >$tracing/set_ftrace_filter
}

# What a tool needs until it is attached: the command that it starts then says so.
measure_start() {
    began=$(now)
    case $1 in
    cowtrace) cowtrace record -o start.cow -- sh /lab/bench/attached ;;
    bpftrace) bpftrace -c '/bin/sh /lab/bench/attached' /lab/bench/question.bt ;;
    esac 2>/dev/null | sed -n "s/^attached \([0-9]*\) \([0-9]*\)/\1 \2/p" >start
    read ended took <start
    echo "{\"type\":\"start\",\"tool\":\"$1\",\"nanos\":$((ended - began)),\"cpu\":$took}"
    rm -f start.cow
}

# What this shell has taken of a CPU by now, while it waits for the answer.
own_ns() {
    cut -d ' ' -f 1 /proc/$$/schedstat
}

# The same of ftrace, which has no process: what this shell takes for it.
measure_ftrace_start() {
    find_traced
    began=$(now) before=$(own_ns)
    attach_ftrace
    ended=$(now) after=$(own_ns)
    echo "{\"type\":\"start\",\"tool\":\"ftrace\",\"nanos\":$((ended - began)),\"cpu\":$((after - before))}"
    stop_ftrace
}

# KiB resident besides what is a map of the kernel's: rings, whose size is asked for.
beside_maps() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / { map = /anon_inode:bpf-map/ } /^Rss:/ && !map { sum += $2 } END { print sum }' /proc/$pid/smaps
}

# How often the tool was switched, all threads of its processes together, in $switches. Starts no process, either.
count_switches() {
    find_processes
    switches=0
    for process in $processes; do
        for status in /proc/$process/task/*/status; do
            while read -r name number _; do
                case $name in *ctxt_switches:) switches=$((switches + number)) ;; esac
            done <$status
        done
    done
}

# So many seconds, and no process started.
rest() { read -r -t "$1" _ <&3 || true; }

measure_idle() {
    mkfifo silence && exec 3<>silence
    rest 20
    count_switches
    before=$switches
    rest 10
    count_switches
    echo "{\"type\":\"idle\",\"tool\":\"$1\",\"seconds\":10,\"switches\":$((switches - before))}"
    exec 3>&- && rm silence
    echo "{\"type\":\"memory\",\"tool\":\"$1\",\"resident\":$(field VmRSS),\"anonymous\":$(field RssAnon),\"beside\":$(beside_maps)}"
}

measure() {
    tool=$1 name=$2
    shift 2
    before=$(tool_ns)
    line=$(cowtrace provoke --load "$@") || line=
    settle
    after=$(tool_ns)
    [ -z "$line" ] || echo "{\"type\":\"measured\",\"tool\":\"$tool\",\"load\":\"$name\",\"tool_ns\":$((after - before)),\"passes\":$line}"
}

# The boot's own deferred work first.
sleep 5
for round in $(seq "$ROUNDS"); do
    for tool in $TOOLS; do
        start_$tool
        sleep 1
        measure $tool cow cow --pages 2000
        measure $tool cow-pinned cow-pinned --pages 2000
        [ -e /dev/kvm ] && measure $tool cow-notified cow-notified --pages 2000
        measure $tool register register --pages 2000
        measure $tool register-large register --pages "$LARGE"
        measure $tool read read --pages 2000 --slow-disk $disk
        measure $tool touch touch --pages 2000
        [ -n "$pid" ] && [ "$round" = "$ROUNDS" ] && measure_idle $tool
        stop_$tool
    done
    measure_start cowtrace
    case $TOOLS in *bpftrace*) measure_start bpftrace ;; esac
    case $TOOLS in *" ftrace"*) measure_ftrace_start ;; esac
done
