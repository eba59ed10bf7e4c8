# A workload of $device keeps pages pinned while the trace ends. Whose they are its descriptors and sysfs say.
cat >holder <<'END'
cowtrace provoke $device/4k/nothing --pages 3 --ready ready --hold 600 >/dev/null & pid=$!
until [ -e ready ]; do usleep 20000; done
for link in /proc/$pid/fd/*; do
    fd=${link##*/} to=$(readlink $link)
    case $to in
    *io_uring*) kind=io_uring name="ring fd $fd, buffer 0" ;;
    /dev/vfio/vfio) kind=vfio container=$fd ;;
    /dev/vfio/*) number=${to##*/} group=$fd ;;
    esac
done
[ $kind = vfio ] && name="container fd $container, group $number (fd $group): $LAB_EDU"
echo "{\"type\":\"owner\",\"tgid\":$pid,\"pages\":$pages,\"kind\":\"$kind\",\"name\":\"$name\"}"
END
cowtrace stream --format json -- sh holder >s
status=$?; cat s; exit $status
