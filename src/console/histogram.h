/* Latencies: 64 powers of two with 32 steps each (as HdrHistogram does, Gil Tene), so that
 * every figure is right to 3 %. No allocation; about 16 KiB. */
#ifndef USHER_CONSOLE_HISTOGRAM_H
#define USHER_CONSOLE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

#define HISTOGRAM_STEPS 32

struct histogram {
    uint64_t count; /* of all */
    uint64_t buckets[64 * HISTOGRAM_STEPS];
};

void histogram_add(struct histogram *h, uint64_t ns);
/* The latency that a part of all (0..1) does not exceed, in us; 0 when there is none. */
double histogram_us(const struct histogram *h, double part);
/* One line per power of two that occurs: its upper bound in us, how many, a bar. */
void histogram_print(const struct histogram *h, FILE *out);
/* [[us, count], ...] likewise. */
void histogram_json(const struct histogram *h, struct buf *out);

#endif
