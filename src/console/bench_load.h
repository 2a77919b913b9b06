/* The load of `usher bench`: connections that are kept busy. See bench_load.c. */
#ifndef USHER_CONSOLE_BENCH_LOAD_H
#define USHER_CONSOLE_BENCH_LOAD_H

#include <stdbool.h>

#include "base/error.h"
#include "console/histogram.h"

#define BENCH_SEATS_PER_EVENT 20000
#define BENCH_SEATS_PER_ROW   100

enum bench_mode { BENCH_BOOK, BENCH_HOLD, BENCH_HOT, BENCH_SEATS };

struct bench_connection;

/* Zeroed, then the first half filled in. */
struct bench_load {
    enum bench_mode mode;
    const char *user, *password; /* NULL: none */
    const char *run;             /* events are called bench-RUN-1, bench-RUN-2, ... */
    size_t clients, pipeline;
    uint64_t requests, seconds; /* whichever is over first */
    bool progress;              /* a line on stderr that is written over, once a second */

    uint64_t sent, refused, failed;
    char first_failure[200];
    struct histogram latency; /* count: answers */
    uint64_t begin_ns, end_ns;
    int poll_fd;
    struct bench_connection *connections;
};

/* Connects all clients to one address. On error bench_load_free() is due all the same. */
int bench_load_connect(struct bench_load *b, const char *address, struct error *e);
/* Runs until it is over and every answer is there. ERR_IO: a connection ended, or answers
 * did not come for 10 s after the end. */
int bench_load_run(struct bench_load *b, struct error *e);
void bench_load_free(struct bench_load *b);

uint64_t bench_now_ns(void);

#endif
