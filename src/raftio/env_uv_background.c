/* Background jobs: long work that no request waits for (a rehearsal), beside a loop that serves.
 *
 * The idle scheduling class alone is not enough. It lets go of its core for whatever wakes there,
 * but a core that runs such a thread takes over no work that waits for another core, as one that
 * sleeps does: on two cores the slowest hundredth of the bookings took three times as long. So such
 * a job works in bursts and sleeps between them, and the longer the more this process has to do.
 *
 *   burst (BURST_NS), nap, burst, nap ...     nap = burst x (REST_LEAST .. REST_MOST)
 *
 * What there is to do is seen in the CPU time that the other threads took since the last nap's
 * beginning, averaged over some AVERAGE bursts. */
#include <pthread.h>
#include <time.h>

#include "raftio/env_uv_impl.h"

#define BURST_NS   UINT64_C(200000)
#define REST_LEAST 1
#define REST_MOST  12
/* Thousandths of a core that the others take: up to here REST_LEAST, from there on REST_MOST. */
#define QUIET_MIL  20
#define BUSY_MIL   60
#define AVERAGE    16

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
    struct sched_param none = { 0 };
    (void)pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
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

uint64_t env_uv_background_nap(uint64_t burst_ns, uint64_t busy_mil)
{
    uint64_t busy = busy_mil < QUIET_MIL ? QUIET_MIL : busy_mil > BUSY_MIL ? BUSY_MIL : busy_mil;
    return burst_ns * REST_LEAST +
           burst_ns * (REST_MOST - REST_LEAST) * (busy - QUIET_MIL) / (BUSY_MIL - QUIET_MIL);
}

void env_uv_rest(struct env *env, struct env_job *job)
{
    struct env_uv_background *b = job->naps;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    (void)env;
    if (now - b->awake_ns >= BURST_NS) {
        look(b, now);
        uint64_t nap = env_uv_background_nap(BURST_NS, b->busy_mil);
        const struct timespec t = { .tv_nsec = (long)nap };
        (void)nanosleep(&t, NULL);
        b->awake_ns = clock_ns(CLOCK_MONOTONIC);
    }
}
