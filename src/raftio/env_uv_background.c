/* Background jobs: long work that no request waits for (a rehearsal), beside a loop that serves.
 *
 * Such a job works in bursts and sleeps between them, and the longer the more this process has to
 * do. A low priority alone is not enough: even a thread of the idle class, which lets go of its
 * core for whatever wakes there, keeps that core from taking over what waits for another one, as
 * one that sleeps does (on two cores the slowest hundredth of the bookings took three times as
 * long); and on a machine that is full it never gets on. So the priority is low, but not the
 * lowest.
 *
 *   burst, nap, burst, nap ...     bursts of 400 us and as long naps on a node at rest,
 *                                  of 100 us and naps of 1600 us on one that serves
 *
 * What there is to do is seen in the CPU time that the other threads took since the last nap's
 * beginning, averaged over some AVERAGE bursts. */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "raftio/env_uv_impl.h"

#define NICE      10
/* Thousandths of a core that the others take: at rest up to here, serving from there. */
#define QUIET_MIL 20
#define BUSY_MIL  60
#define AVERAGE   16

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t others_ns(void)
{
    uint64_t all = clock_ns(CLOCK_PROCESS_CPUTIME_ID), own = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    return all > own ? all - own : 0;
}

/* Takes in how busy the others were since the last time; thousandths of a core. */
static void look(struct env_uv_background *b, uint64_t now_ns)
{
    uint64_t others = others_ns(), passed = now_ns - b->seen_ns;
    uint64_t mil =
        others > b->others_ns && passed > 0 ? (others - b->others_ns) * 1000 / passed : 0;
    b->busy_mil = (b->busy_mil * (AVERAGE - 1) + mil + AVERAGE / 2) / AVERAGE;
    b->others_ns = others;
    b->seen_ns = now_ns;
}

/* A node of which nothing is known yet may be a busy one. */
static void start(struct env_uv_background *b)
{
    b->awake_ns = b->seen_ns = clock_ns(CLOCK_MONOTONIC);
    b->others_ns = others_ns();
    b->busy_mil = BUSY_MIL;
}

static void *thread_main(void *arg)
{
    struct env_job *job = arg;
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE); /* of this thread, Linux */
    start(job->naps);
    job->run(job);
    return NULL;
}

void env_uv_background_run(struct env_job *job)
{
    struct env_uv_background b;
    pthread_t thread;
    job->naps = &b;
    if (pthread_create(&thread, NULL, thread_main, job) == 0) {
        (void)pthread_join(thread, NULL);
    } else {
        start(&b);
        job->run(job);
    }
}

static uint64_t between(uint64_t quiet, uint64_t busy, uint64_t mil)
{
    uint64_t part = mil < QUIET_MIL ? 0 : mil > BUSY_MIL ? BUSY_MIL - QUIET_MIL : mil - QUIET_MIL;
    uint64_t all = BUSY_MIL - QUIET_MIL;
    return (quiet * (all - part) + busy * part) / all;
}

uint64_t env_uv_background_burst(uint64_t busy_mil) { return between(400000, 100000, busy_mil); }
uint64_t env_uv_background_nap(uint64_t busy_mil) { return between(400000, 1600000, busy_mil); }

void env_uv_rest(struct env *env, struct env_job *job)
{
    struct env_uv_background *b = job->naps;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    (void)env;
    if (now - b->awake_ns >= env_uv_background_burst(b->busy_mil)) {
        look(b, now);
        const struct timespec t = { .tv_nsec = (long)env_uv_background_nap(b->busy_mil) };
        (void)nanosleep(&t, NULL);
        b->awake_ns = clock_ns(CLOCK_MONOTONIC);
    }
}
