/* The yardstick: what bare libraft with its own disk and network back end commits.
 *
 * Three processes on loopback, each with its own directory on the disk given. Whoever
 * is elected proposes entries by itself: first one at a time, then with 64 and 256 in
 * flight, each for some seconds, and prints one JSON line per phase. No client, no
 * state machine, no answer over a socket: the floor that a real node is compared with.
 *
 *   bench_raft_uv [--dir DIR] [--size BYTES] [--seconds S]
 *
 * The parent ends its own children (they also die with it), removes what they wrote,
 * and gives up by itself when a phase hangs. Exit status 1 when a figure is missing. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <raft.h>
#include <raft/uv.h>
#include <uv.h>

#define NODES       3
#define WARM_UP_NS  300000000ull
#define SAMPLES_MAX 4000000u

static const unsigned phases[] = { 1, 64, 256 };
#define PHASES (sizeof phases / sizeof phases[0])

struct options {
    const char *dir;
    size_t entry_bytes;
    unsigned seconds;
    int ports[NODES];
};

struct node {
    const struct options *options;
    uv_loop_t loop;
    uv_timer_t timer;
    struct raft_uv_transport transport;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft raft;
    char address[32];
    size_t phase;
    unsigned in_flight;
    bool running;
    uint64_t warm_until, end; /* ns */
    uint32_t *samples;        /* latencies in ns / 16, so that a minute fits */
    uint32_t samples_count;
};

struct proposal {
    struct raft_apply req;
    struct node *node;
    uint64_t started;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_raft_uv: %s: %s\n", what, why);
    _exit(1);
}

/* ---- One node --------------------------------------------------------------- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm;
    (void)buf;
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    (void)fsm;
    *n_bufs = 1;
    *bufs = raft_malloc(sizeof **bufs);
    if (*bufs == NULL) {
        return RAFT_NOMEM;
    }
    (*bufs)[0].len = 8;
    (*bufs)[0].base = raft_calloc(1, 8);
    return (*bufs)[0].base != NULL ? 0 : RAFT_NOMEM;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(const struct node *n, double p)
{
    uint32_t at = (uint32_t)((double)(n->samples_count - 1) * p);
    return (double)n->samples[at] * 16 / 1000;
}

static void report(struct node *n)
{
    if (n->samples_count == 0) {
        die("phase", "no commit at all");
    }
    qsort(n->samples, n->samples_count, sizeof *n->samples, by_value);
    printf("{\"bench\":\"raft_uv\",\"entry_bytes\":%zu,\"in_flight\":%u,\"commits\":%u,"
           "\"commits_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           n->options->entry_bytes, phases[n->phase], n->samples_count,
           n->samples_count / (double)n->options->seconds, percentile_us(n, 0.5),
           percentile_us(n, 0.99));
    fflush(stdout);
}

static void propose(struct node *n);

static void committed(struct raft_apply *req, int status, void *result)
{
    struct proposal *p = req->data;
    struct node *n = p->node;
    uint64_t now = uv_hrtime();
    (void)result;
    if (status != 0) {
        die("commit", raft_strerror(status));
    }
    if (p->started >= n->warm_until && now < n->end && n->samples_count < SAMPLES_MAX) {
        n->samples[n->samples_count++] = (uint32_t)((now - p->started) / 16);
    }
    free(p);
    n->in_flight--;
    if (now < n->end) {
        propose(n);
    } else if (n->in_flight == 0) {
        n->running = false;
        report(n);
        if (++n->phase == PHASES) {
            _exit(0); /* the parent ends the others and removes the files */
        }
    }
}

static void propose(struct node *n)
{
    struct proposal *p = calloc(1, sizeof *p);
    struct raft_buffer buf = { .base = raft_malloc(n->options->entry_bytes),
                               .len = n->options->entry_bytes };
    if (p == NULL || buf.base == NULL) {
        die("propose", "out of memory");
    }
    memset(buf.base, 'u', buf.len);
    p->node = n;
    p->req.data = p;
    p->started = uv_hrtime();
    n->in_flight++;
    int rc = raft_apply(&n->raft, &p->req, &buf, 1, committed);
    if (rc != 0) {
        die("raft_apply", raft_errmsg(&n->raft));
    }
}

/* Starts the next phase as soon as this node leads. */
static void tick(uv_timer_t *timer)
{
    struct node *n = timer->data;
    if (n->running || raft_state(&n->raft) != RAFT_LEADER) {
        return;
    }
    n->running = true;
    n->samples_count = 0;
    n->warm_until = uv_hrtime() + WARM_UP_NS;
    n->end = n->warm_until + n->options->seconds * 1000000000ull;
    for (unsigned i = 0; i < phases[n->phase]; i++) {
        propose(n);
    }
}

static void configure(struct node *n)
{
    struct raft_configuration conf;
    raft_configuration_init(&conf);
    for (unsigned i = 0; i < NODES; i++) {
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%d", n->options->ports[i]);
        if (raft_configuration_add(&conf, i + 1, address, RAFT_VOTER) != 0) {
            die("configuration", address);
        }
    }
    int rc = raft_bootstrap(&n->raft, &conf);
    raft_configuration_close(&conf);
    if (rc != 0) {
        die("raft_bootstrap", raft_strerror(rc));
    }
}

static void run_node(const struct options *o, unsigned i, const char *dir)
{
    struct node *n = calloc(1, sizeof *n);
    if (n == NULL || (n->samples = malloc(sizeof *n->samples * SAMPLES_MAX)) == NULL) {
        die("node", "out of memory");
    }
    n->options = o;
    n->fsm = (struct raft_fsm){
        .version = 1, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore
    };
    n->transport.version = 1;
    snprintf(n->address, sizeof n->address, "127.0.0.1:%d", o->ports[i]);
    if (uv_loop_init(&n->loop) != 0 || uv_timer_init(&n->loop, &n->timer) != 0 ||
        raft_uv_tcp_init(&n->transport, &n->loop) != 0) {
        die("loop", n->address);
    }
    if (raft_uv_init(&n->io, &n->loop, dir, &n->transport) != 0) {
        die(dir, n->io.errmsg);
    }
    raft_uv_set_connect_retry_delay(&n->io, 50);
    if (raft_init(&n->raft, &n->io, &n->fsm, i + 1, n->address) != 0) {
        die("raft_init", raft_errmsg(&n->raft));
    }
    n->raft.tracer = NULL; /* formatting every trace is not what is measured */
    configure(n);
    raft_set_election_timeout(&n->raft, 500);
    raft_set_heartbeat_timeout(&n->raft, 50);
    raft_set_pre_vote(&n->raft, true);
    raft_set_snapshot_threshold(&n->raft, 1u << 30); /* no snapshot while measuring */
    if (raft_start(&n->raft) != 0) {
        die("raft_start", raft_errmsg(&n->raft));
    }
    n->timer.data = n;
    uv_timer_start(&n->timer, tick, 100, 20);
    uv_run(&n->loop, UV_RUN_DEFAULT);
    _exit(1);
}

/* ---- The parent ------------------------------------------------------------- */

static int free_ports(int ports[NODES])
{
    int fds[NODES];
    for (unsigned i = 0; i < NODES; i++) {
        struct sockaddr_in a = { .sin_family = AF_INET };
        socklen_t len = sizeof a;
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&a, len) != 0 ||
            getsockname(fds[i], (struct sockaddr *)&a, &len) != 0) {
            return -1;
        }
        ports[i] = ntohs(a.sin_port);
    }
    for (unsigned i = 0; i < NODES; i++) {
        close(fds[i]);
    }
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static volatile sig_atomic_t stop_asked;

static void on_signal(int signo)
{
    (void)signo;
    stop_asked = 1;
}

/* Waits for the first child to end; the others are only followers by then. */
static bool wait_first(pid_t pids[NODES], double deadline)
{
    while (now_s() < deadline && !stop_asked) {
        for (unsigned i = 0; i < NODES; i++) {
            int status;
            if (waitpid(pids[i], &status, WNOHANG) == pids[i]) {
                pids[i] = 0;
                return WIFEXITED(status) && WEXITSTATUS(status) == 0;
            }
        }
        struct timespec pause = { 0, 20000000 };
        nanosleep(&pause, NULL);
    }
    fprintf(stderr, "bench_raft_uv: %s\n", stop_asked ? "stopped" : "not done in time");
    return false;
}

static bool run(const struct options *o)
{
    pid_t pids[NODES] = { 0 };
    for (unsigned i = 0; i < NODES; i++) {
        char dir[512];
        snprintf(dir, sizeof dir, "%s/%u", o->dir, i + 1);
        if (mkdir(dir, 0700) != 0) {
            perror(dir);
            return false;
        }
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            signal(SIGPIPE, SIG_IGN);
            signal(SIGINT, SIG_DFL);
            signal(SIGTERM, SIG_DFL);
            run_node(o, i, dir);
        }
    }
    bool ok = wait_first(pids, now_s() + 20 + (double)PHASES * (o->seconds + 2));
    for (unsigned i = 0; i < NODES; i++) {
        if (pids[i] > 0) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
    }
    return ok;
}

static int usage(void)
{
    fprintf(stderr, "usage: bench_raft_uv [--dir DIR] [--size BYTES, a multiple of 8] "
                    "[--seconds 1..60]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct options o = { .dir = "build/tmp", .entry_bytes = 256, .seconds = 3 };
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            return usage();
        } else if (strcmp(argv[i], "--dir") == 0) {
            o.dir = argv[i + 1];
        } else if (strcmp(argv[i], "--size") == 0) {
            o.entry_bytes = strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            o.seconds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else {
            return usage();
        }
    }
    if (o.entry_bytes == 0 || o.entry_bytes % 8 != 0 || o.entry_bytes > 1024 * 1024 ||
        o.seconds == 0 || o.seconds > 60) {
        return usage();
    }
    char dir[400];
    snprintf(dir, sizeof dir, "%s/raft_uv_XXXXXX", o.dir);
    if ((mkdir(o.dir, 0700) != 0 && errno != EEXIST) || mkdtemp(dir) == NULL ||
        free_ports(o.ports) != 0) {
        perror(dir);
        return 1;
    }
    o.dir = dir;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    bool ok = run(&o);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return ok ? 0 : 1;
}
