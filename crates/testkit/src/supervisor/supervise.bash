# supervise.bash DIRECTORY: runs programs for its parent and tidies up after both.
#
# Standard input is a pipe that the parent holds. However the parent ends, kill -9 included, the pipe closes;
# then the programs, DIRECTORY and this shell go. Should this shell be killed first, the kernel kills the
# programs (pdeathsig). Lines on the pipe: `start NAME` runs the words of NAME.argv, each ended by a NUL;
# `detach` lets everything live on after the parent has gone. The script `undo` in DIRECTORY, if there is one, is run
# after the programs.
trap '' INT TERM HUP
cd "$1" || exit 1
exec 2>>supervisor.log
detached=
while read -r verb name; do
    case $verb in
        start)
            mapfile -d '' -t argv <"$name.argv"
            setpriv --pdeathsig KILL -- "${argv[@]}" </dev/null >>"$name.log" 2>&1 &
            echo "$!" >".$name.pid" && mv ".$name.pid" "$name.pid"
            ;;
        detach) detached=yes ;;
    esac
done
[ -z "$detached" ] || wait
for job in $(jobs -p); do kill -KILL "$job"; done
wait
[ ! -e undo ] || bash undo </dev/null
cd / && rm -rf -- "$1"
