/* The simulator: whole clusters in one thread, on simulated disks and networks, under
 * random faults, from a seed. What went wrong with a seed goes wrong again with it.
 *
 *     usher-sim --seed 42            one seed, with its log and its trace hash
 *     usher-sim --seconds 60         seeds from 1 until the time is over
 *     usher-sim --minutes 10 --jobs 2
 *     usher-sim --first 1000 --seeds 50
 *     usher-sim --quiet-hours 24     each seed ends with a quiet day (fewer hours beyond 3 nodes)
 *     usher-sim --election-ms 30000  slow timers for all nodes, so that quiet days cost less
 *
 * A run is sim_run.c, what is done to it sim_faults.c, who judges it sim_oracle.c,
 * sim_history.c and sim_linear.c. Every tenth seed runs twice and must leave the same trace.
 * Exit status 1 when anything was violated. docs/testing.md has the figures. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_run.h"

#define JOBS_MAX 64

struct options {
    uint64_t first, seeds, seconds, jobs;
    bool until_failed, table;
    struct run_options run;
};

static uint64_t clock_us(clockid_t which)
{
    struct timespec now;
    (void)clock_gettime(which, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* A turn that never ends looks like a long run: say which seed it was. */
#define SEED_SECONDS_MAX 300

static char hang_text[64], crash_text[64];

static void on_alarm(int number)
{
    (void)number;
    ssize_t n = write(STDERR_FILENO, hang_text, strlen(hang_text));
    _exit(n > 0 ? 1 : 3);
}

/* A failed assertion, or worse, in the code under test. */
static void on_crash(int number)
{
    ssize_t n = write(STDERR_FILENO, crash_text, strlen(crash_text));
    (void)n;
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void watch_seed(uint64_t seed)
{
    (void)snprintf(hang_text, sizeof hang_text, "seed %" PRIu64 ": hangs\n", seed);
    (void)snprintf(crash_text, sizeof crash_text, "seed %" PRIu64 ": crashes\n", seed);
    (void)signal(SIGALRM, on_alarm);
    (void)signal(SIGABRT, on_crash);
#if !defined(__SANITIZE_ADDRESS__) /* it tells more by itself */
    (void)signal(SIGSEGV, on_crash);
#endif
    (void)alarm(SEED_SECONDS_MAX);
}

static void one_seed(uint64_t seed, const struct options *o, struct totals *t)
{
    unsigned violations = 0;
    watch_seed(seed);
    uint64_t hash = run_seed(seed, &o->run, t, &violations);
    if (o->run.verbose) {
        printf("seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, hash);
    }
    if (seed % 10 == 0 && violations == 0) {
        struct totals unused = { 0 };
        if (run_seed(seed, &o->run, &unused, &violations) != hash) {
            (void)fprintf(stderr, "seed %" PRIu64 ": two runs differ\n", seed);
            t->failed++;
            violations++;
        }
        t->twice++;
    }
    if (violations > 0 && (t->first_failed == 0 || seed < t->first_failed)) {
        t->first_failed = seed;
    }
}

/* Seeds first + job, + job + jobs, ... */
static void run_job(const struct options *o, uint64_t job, struct totals *t)
{
    uint64_t start = clock_us(CLOCK_MONOTONIC);
    for (uint64_t i = job; i < o->seeds; i += o->jobs) {
        if (o->seconds > 0 && clock_us(CLOCK_MONOTONIC) - start >= o->seconds * 1000000) {
            break;
        }
        one_seed(o->first + i, o, t);
        if (o->until_failed && t->failed > 0) {
            break;
        }
    }
    t->cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

/* A child's totals come back through a pipe; one that died was in the middle of a seed. */
static bool run_jobs(const struct options *o, struct totals *t)
{
    int pipes[JOBS_MAX][2];
    pid_t children[JOBS_MAX];
    bool whole = true;
    for (uint64_t i = 0; i < o->jobs; i++) {
        if (pipe(pipes[i]) != 0 || (children[i] = fork()) < 0) {
            perror("usher-sim");
            exit(1);
        }
        if (children[i] == 0) {
            struct totals mine = { 0 };
            run_job(o, i, &mine);
            _exit(write(pipes[i][1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
        }
        (void)close(pipes[i][1]);
    }
    for (uint64_t i = 0; i < o->jobs; i++) {
        struct totals his = { 0 };
        size_t got = 0;
        ssize_t n;
        while ((n = read(pipes[i][0], (char *)&his + got, sizeof his - got)) > 0) {
            got += (size_t)n;
        }
        int status = 0;
        (void)waitpid(children[i], &status, 0);
        if (got == sizeof his && status == 0) {
            totals_add(t, &his);
        } else {
            (void)fprintf(stderr, "usher-sim: job %" PRIu64 " died (status %d)\n", i, status);
            whole = false;
        }
    }
    return whole;
}

/* ---- The command line ------------------------------------------------------------------ */

static int usage(void)
{
    (void)fprintf(
        stderr, "usage: usher-sim [--seed N] [--first N] [--seeds N] [--seconds N] [--minutes N]\n"
                "                 [--jobs N] [--nodes N] [--steps N] [--quiet-hours N]\n"
                "                 [--election-ms N]\n"
                "                 [--until-failed] [--calm] [--verbose] [--no-table]\n");
    return 2;
}

static bool parse_flag(const char *word, struct options *o)
{
    if (strcmp(word, "--verbose") == 0) {
        o->run.verbose = true;
    } else if (strcmp(word, "--calm") == 0) {
        o->run.calm = true;
    } else if (strcmp(word, "--until-failed") == 0) {
        o->until_failed = true;
    } else if (strcmp(word, "--no-table") == 0) {
        o->table = false;
    } else {
        return false;
    }
    return true;
}

static bool parse_number(const char *word, uint64_t v, struct options *o)
{
    if (strcmp(word, "--seed") == 0) {
        o->first = v;
        o->seeds = 1;
        o->run.verbose = true;
    } else if (strcmp(word, "--first") == 0) {
        o->first = v;
    } else if (strcmp(word, "--seeds") == 0) {
        o->seeds = v;
    } else if (strcmp(word, "--seconds") == 0) {
        o->seconds = v;
    } else if (strcmp(word, "--minutes") == 0) {
        o->seconds = v * 60;
    } else if (strcmp(word, "--jobs") == 0 && v >= 1 && v <= JOBS_MAX) {
        o->jobs = v;
    } else if (strcmp(word, "--steps") == 0) {
        o->run.steps = v;
    } else if (strcmp(word, "--quiet-hours") == 0) {
        o->run.quiet_ms = v * 3600000;
    } else if (strcmp(word, "--election-ms") == 0 && v >= 50 && v <= 60000) {
        o->run.election_ms = (unsigned)v;
    } else if (strcmp(word, "--nodes") == 0 && v >= 1 && v <= 7) {
        o->run.nodes = (unsigned)v;
    } else {
        return false;
    }
    return true;
}

static int parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        if (parse_flag(argv[i], o)) {
            continue;
        }
        char *end = NULL;
        uint64_t v = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        if (end == NULL || end == argv[i + 1] || *end != 0 || !parse_number(argv[i], v, o)) {
            return usage();
        }
        i++;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = { .first = 1, .jobs = 1, .table = true };
    struct totals t = { 0 };
    if (parse(argc, argv, &o) != 0) {
        return 2;
    }
    if (o.seeds == 0) {
        o.seeds = o.seconds > 0 ? UINT64_MAX - o.first : 20;
    }
    uint64_t start = clock_us(CLOCK_MONOTONIC);
    bool whole = true;
    if (o.jobs == 1) {
        run_job(&o, 0, &t);
    } else {
        whole = run_jobs(&o, &t);
    }
    report(&t, (clock_us(CLOCK_MONOTONIC) - start) / 1000, (unsigned)o.jobs,
           o.table && o.seeds > 1);
    if (t.first_failed != 0) {
        printf("first failed seed: %" PRIu64 ", after %" PRIu64 " seeds\n", t.first_failed,
               t.seeds);
    }
    return t.failed > 0 || !whole ? 1 : 0;
}
