# What each side may do, told from inside a run; then the folder is another one of the same name, which is not the one
# that Landlock was told of.
cat >may <<'END'
tell() {
    awk -v who=$1 '
        /^(CapPrm|NoNewPrivs|Seccomp):/ { sub(":", "", $1); said = said ",\"" $1 "\":\"" $2 "\"" }
        END { print "{\"type\":\"may\",\"who\":\"" who "\"" said "}" }' $2
}
tell command /proc/$$/status
for child in $(cat /proc/$PPID/task/*/children); do
    [ $(cat /proc/$child/comm) = cowtrace-opener ] && tell opener /proc/$child/status
done
for thread in /proc/$PPID/task/*; do tell cowtrace $thread/status; done
mv w old; mkdir w
while kill -0 $PPID 2>/dev/null; do cowtrace provoke io-uring/4k/nothing >/dev/null; done
END
mkdir w
cowtrace record -o w/r.cow --rotate 1s -- sh may
