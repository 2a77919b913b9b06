/* Wall clocks, compared (design.md 2.3).
 *
 * Every node tells every other its wall clock once a second (tell_ms): one sample per peer, less
 * the way (milliseconds). It is kept against our monotonic clock, which does not jump, and
 * compared with our wall clock each time: one that was set a moment ago stamps nothing. A leader
 * stamps entries only while a majority of voters, itself included, has been heard lately and its
 * own clock is within CLOCK_APART_MS of their median. */
#define LOG_MODULE "cluster"

#include <stdlib.h>

#include "cluster/internal.h"

#define CLOCK_FRESH_MS 10000
#define CLOCK_APART_MS 10000
/* Beyond it no clock is right, and differences would not fit. */
#define SAMPLE_MS_MAX  ((uint64_t)INT64_MAX / 4)

void clock_send(struct cluster *c, struct peer *p)
{
    struct buf b = BUF_INIT;
    wire_put_words(&b, WIRE_CLOCK, 1, c->env->ops->wall_ms(c->env), 0, 0);
    peer_send(c, p, &b);
}

void clock_tick(struct cluster *c)
{
    if (now_ms(c) - c->clock_sent_ms < c->tell_ms) {
        return;
    }
    c->clock_sent_ms = now_ms(c);
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->member) {
            clock_send(c, p);
        }
    }
}

void clock_on_sample(struct cluster *c, struct peer *p, uint64_t wall_ms)
{
    if (wall_ms > SAMPLE_MS_MAX) {
        return;
    }
    p->clock_ms = now_ms(c);
    p->clock_base_ms = (int64_t)(wall_ms - p->clock_ms);
    c->again = true;
}

int64_t clock_offset(const struct cluster *c, const struct peer *p)
{
    return p->clock_base_ms + (int64_t)now_ms(c) - (int64_t)c->env->ops->wall_ms(c->env);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

static bool fresh(const struct cluster *c, const struct peer *p)
{
    return p->clock_ms != 0 && now_ms(c) - p->clock_ms <= CLOCK_FRESH_MS && is_voter(c, p->node_id);
}

/* Of an even number the middle value nearer to us counts: two nodes that differ cannot
 * outvote one another. */
static int64_t median(int64_t *offsets, unsigned n)
{
    qsort(offsets, n, sizeof *offsets, by_value);
    int64_t low = offsets[(n - 1) / 2], high = offsets[n / 2];
    return llabs(low) < llabs(high) ? low : high;
}

int clock_agrees(const struct cluster *c, bool *apart, int64_t *median_ms)
{
    int64_t offsets[CLUSTER_MEMBERS_MAX + 1];
    unsigned n = 0;
    *apart = false;
    offsets[n++] = 0; /* our own */
    for (const struct peer *p = c->peers; p != NULL && n <= CLUSTER_MEMBERS_MAX; p = p->next) {
        if (fresh(c, p)) {
            offsets[n++] = clock_offset(c, p);
        }
    }
    if (n <= voters_count(c) / 2) {
        return ERR_NOTREADY;
    }
    *median_ms = median(offsets, n);
    *apart = llabs(*median_ms) > CLOCK_APART_MS;
    return *apart ? ERR_NOTREADY : 0;
}

uint64_t clock_best_successor(const struct cluster *c)
{
    bool apart;
    int64_t middle = 0;
    (void)clock_agrees(c, &apart, &middle);
    const struct peer *best = NULL;
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        if (fresh(c, p) && (best == NULL || llabs(clock_offset(c, p) - middle) <
                                                llabs(clock_offset(c, best) - middle))) {
            best = p;
        }
    }
    return best != NULL ? best->node_id : 0;
}
