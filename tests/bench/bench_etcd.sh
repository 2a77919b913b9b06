#!/usr/bin/env bash
# The same job on a 3-node etcd of Debian's package, on the same disk, in the same run.
#
#   tests/bench/bench_etcd.sh BENCH_ETCD_PROGRAM [--dir DIR] [--seconds S]
#
# Prints the JSON lines of bench_etcd. Starts its own three nodes on free loopback
# ports, ends them by their process ids and removes their files. Exit status 3 when
# etcd is not installed.
set -u

program=${1:-}
dir=build/tmp
seconds=3
[ $# -gt 0 ] && shift
while [ $# -gt 1 ]; do
    case $1 in
    --dir) dir=$2 ;;
    --seconds) seconds=$2 ;;
    *) break ;;
    esac
    shift 2
done
if [ ! -x "$program" ] || [ $# -gt 0 ]; then
    echo "usage: bench_etcd.sh BENCH_ETCD_PROGRAM [--dir DIR] [--seconds S]" >&2
    exit 2
fi
if ! command -v etcd >/dev/null; then
    echo "bench_etcd: etcd is not installed (apt-get install etcd-server): not measured" >&2
    exit 3
fi

mkdir -p "$dir" || exit 1
home=$(mktemp -d "$dir/etcd_XXXXXX") || exit 1
pids=()
finish() {
    # etcd waits for its peers on TERM; its files are thrown away anyway.
    [ ${#pids[@]} -gt 0 ] && kill -KILL "${pids[@]}" 2>/dev/null
    for pid in "${pids[@]}"; do # disowned, so wait does not know them
        while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    done
    rm -rf "$home"
}
trap finish EXIT
trap 'exit 1' INT TERM

free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        case " ${ports[*]} " in *" $port "*) continue ;; esac
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    exit 1
}

ports=()
for _ in {1..6}; do
    ports+=("$(free_port)")
done
cluster="n0=http://127.0.0.1:${ports[3]},n1=http://127.0.0.1:${ports[4]},n2=http://127.0.0.1:${ports[5]}"
for i in 0 1 2; do
    # setpriv: a node never outlives this script, however the script ends.
    setpriv --pdeathsig KILL etcd --name "n$i" --data-dir "$home/n$i" \
        --listen-client-urls "http://127.0.0.1:${ports[$i]}" \
        --advertise-client-urls "http://127.0.0.1:${ports[$i]}" \
        --listen-peer-urls "http://127.0.0.1:${ports[$((i + 3))]}" \
        --initial-advertise-peer-urls "http://127.0.0.1:${ports[$((i + 3))]}" \
        --initial-cluster "$cluster" --initial-cluster-state new \
        --logger zap --log-level error >"$home/n$i.log" 2>&1 &
    pids+=($!)
    disown $! # no "Killed" message at the end
done

timeout $((60 + 4 * seconds)) "$program" "${ports[0]},${ports[1]},${ports[2]}" --seconds "$seconds"
status=$?
if [ $status -ne 0 ]; then
    tail -n 3 "$home"/n?.log >&2
fi
exit $status
