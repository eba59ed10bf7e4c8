# Workloads whose device reaches what they pinned. Each goes on when the recording tells whose its pins are.
cat >workloads <<'END'
for event in $([ $LAB_KERNEL = 5.10 ] && echo mprotect fork || echo dontneed mprotect); do
    cowtrace provoke vfio/4k/$event --ready $event.ready --after $event.go >>p & pid=$!
    until [ -e $event.ready ]; do usleep 20000; done
    until cowtrace replay --format json x.cow | tail -1 | grep -q "\"tgid\":$pid,[^}]*\"found\":\"sure\""; do usleep 20000; done
    touch $event.go
    wait $pid
done
END
cowtrace stream --device-maps iommu --format json --record x.cow -- sh workloads >s
status=$?; cat p s; exit $status
