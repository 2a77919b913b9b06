/* `usher bench`: a load generator for bookings.
 *
 * Makes a chart and events of its own (bench-RUN-1, ...), finds the leader, loads it
 * (bench_load.c), tells rate and latencies, and takes its events away again: their bookings
 * would be the largest thing in a real cluster. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "console/bench_load.h"
#include "console/client.h"
#include "console/console.h"
#include "console/render.h"

static const char *const mode_names[] = { "book", "hold", "hot", "seats", NULL };

struct bench {
    struct bench_load load;
    bool json, keep;
    char run[24];
    uint64_t events; /* made so far */
};

/* ---- Set-up -------------------------------------------------------------------------- */

static void chart_rows(struct buf *out)
{
    buf_put_u8(out, '[');
    for (int row = 1; row <= BENCH_SEATS_PER_EVENT / BENCH_SEATS_PER_ROW; row++) {
        buf_printf(out, "%s{\"row\":\"R%d-\",\"seats\":%d}", row > 1 ? "," : "", row,
                   BENCH_SEATS_PER_ROW);
    }
    buf_put_u8(out, ']');
}

/* One chart, and as many events as the run can sell out. */
static int make_events(struct bench *b, struct client *client, struct error *e)
{
    char chart[64], event[64];
    struct buf rows = BUF_INIT, answer = BUF_INIT;
    (void)snprintf(chart, sizeof chart, "bench-%s", b->run);
    chart_rows(&rows);
    const struct span add_chart[] = { span_of("add-chart"), span_of(chart),
                                      span_make((const char *)rows.data, rows.len) };
    int code = client_call(client, 3, add_chart, &answer, e);
    uint64_t places =
        b->load.mode == BENCH_BOOK || b->load.mode == BENCH_HOLD ? b->load.requests : 1;
    for (uint64_t i = 0; code == 0 && i * BENCH_SEATS_PER_EVENT < places; i++) {
        (void)snprintf(event, sizeof event, "bench-%s-%llu", b->run, (unsigned long long)i + 1);
        const struct span add_event[] = { span_of("add-event"), span_of(event), span_of(chart) };
        buf_clear(&answer);
        code = client_call(client, 3, add_event, &answer, e);
        b->events += code == 0;
    }
    buf_free(&rows);
    buf_free(&answer);
    return code;
}

/* Takes away what make_events() made, with everything sold there. A chart cannot go. */
static void remove_events(const struct bench *b, struct client *client)
{
    struct error e;
    char event[64];
    struct buf answer = BUF_INIT;
    int code = 0;
    for (uint64_t i = 0; !b->keep && code == 0 && i < b->events; i++) {
        (void)snprintf(event, sizeof event, "bench-%s-%llu", b->run, (unsigned long long)i + 1);
        const struct span words[] = { span_of("remove-event"), span_of(event),
                                      span_of("--cancel-orders") };
        buf_clear(&answer);
        code = client_call(client, 3, words, &answer, &e);
    }
    if (code != 0) {
        (void)fprintf(stderr, "the events bench-%s-* are still there:\n", b->run);
        render_error(&e, span_make("", 0));
    }
    buf_free(&answer);
}

/* The leader's address out of `status`: a flat search is enough for one known field. */
static int find_leader(struct client *client, char *out, size_t cap, struct error *e)
{
    const struct span status[] = { span_of("status") };
    struct buf json = BUF_INIT;
    int code = client_call(client, 1, status, &json, e);
    if (code == 0) {
        buf_put_u8(&json, 0);
        const char *at = strstr((const char *)json.data, "\"leader\":\"");
        if (at == NULL) {
            code = error_set(e, ERR_NOQUORUM, "the cluster has no leader");
        } else {
            at += strlen("\"leader\":\"");
            (void)snprintf(out, cap, "%.*s", (int)strcspn(at, "\""), at);
        }
    }
    buf_free(&json);
    return code;
}

/* ---- The result ------------------------------------------------------------------------- */

static void report(const struct bench *b, const char *address)
{
    const struct bench_load *l = &b->load;
    const struct histogram *h = &l->latency;
    const double seconds = (double)(l->end_ns - l->begin_ns) / 1e9;
    const double us[] = { histogram_us(h, 0.50), histogram_us(h, 0.99), histogram_us(h, 0.999),
                          histogram_us(h, 1.0 - 1e-9) };
    double rate = seconds > 0 ? (double)h->count / seconds : 0;
    if (b->json) {
        struct buf bars = BUF_INIT;
        histogram_json(h, &bars);
        (void)printf("{\"mode\":\"%s\",\"address\":\"%s\",\"clients\":%zu,\"pipeline\":%zu,"
                     "\"requests\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"failed\":%" PRIu64 ","
                     "\"seconds\":%.3f,\"per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
                     "\"p999_us\":%.1f,\"max_us\":%.1f,\"histogram_us\":%.*s}\n",
                     mode_names[l->mode], address, l->clients, l->pipeline, h->count, l->refused,
                     l->failed, seconds, rate, us[0], us[1], us[2], us[3], (int)bars.len,
                     (char *)bars.data);
        buf_free(&bars);
        return;
    }
    (void)printf("%s: %" PRIu64 " requests in %.2f s through %s, %zu client%s x %zu pipelined\n"
                 "%.0f/s   p50 %.0f us   p99 %.0f us   p99.9 %.0f us   max %.0f us\n"
                 "%" PRIu64 " refused, %" PRIu64 " failed%s%s\n",
                 mode_names[l->mode], h->count, seconds, address, l->clients,
                 l->clients == 1 ? "" : "s", l->pipeline, rate, us[0], us[1], us[2], us[3],
                 l->refused, l->failed, l->failed > 0 ? ": " : "", l->first_failure);
    histogram_print(h, stdout);
}

static int run(struct bench *b, struct client *client, struct error *e)
{
    char leader[300];
    struct bench_load *l = &b->load;
    int code = find_leader(client, leader, sizeof leader, e);
    if (code == 0) {
        code = bench_load_connect(l, leader, e);
    }
    if (code == 0) {
        code = bench_load_run(l, e);
        if (code != 0) {
            error_prefix(e, "%s", leader);
        }
        report(b, leader);
    }
    if (code == 0 && l->failed > 0) {
        code = error_set(e, ERR_INTERNAL, "%" PRIu64 " requests failed: %s", l->failed,
                         l->first_failure);
    }
    bench_load_free(l);
    return code;
}

static int bench(struct bench *b, const struct client_options *co, struct error *e)
{
    struct client *client;
    struct timespec now;
    int code = client_open(co, &client, e);
    if (code != 0) {
        return code;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)snprintf(b->run, sizeof b->run, "%llx",
                   (unsigned long long)now.tv_sec * 1000000 +
                       (unsigned long long)now.tv_nsec / 1000);
    b->load.run = b->run;
    code = make_events(b, client, e);
    code = code != 0 ? code : run(b, client, e);
    remove_events(b, client);
    client_close(client);
    return code;
}

/* ---- Options ---------------------------------------------------------------------------- */

static const char usage_text[] =
    "usage: usher bench [--mode book|hold|hot|seats] [--clients N] [--pipeline N] [--seconds N]\n"
    "                   [--requests N] [--json] [--keep] [--at ADDR] [--user NAME]\n"
    "Loads the leader with events of its own, prints rate and latencies, and takes the events "
    "away\n"
    "again (--keep leaves them). Modes: book and hold take each seat once; in hot all want the\n"
    "same ten seats; seats reads a seat map. Defaults: book, 64 clients, pipeline 1, 5 seconds,\n"
    "1,000,000 requests at most.\n";

void bench_usage(FILE *out) { (void)fputs(usage_text, out); }

static bool number_option(const char *text, uint64_t high, uint64_t *out)
{
    int64_t v;
    if (!text_int64(span_of(text), &v) || v < 1 || (uint64_t)v > high) {
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

static bool mode_option(const char *text, enum bench_mode *out)
{
    for (int i = 0; mode_names[i] != NULL; i++) {
        if (strcmp(mode_names[i], text) == 0) {
            *out = (enum bench_mode)i;
            return true;
        }
    }
    return false;
}

/* An option with a value; false: no such option, or a wrong value. */
static bool take_option(struct bench *b, const char *name, const char *value)
{
    uint64_t n = 0;
    if (strcmp(name, "--mode") == 0) {
        return mode_option(value, &b->load.mode);
    }
    if (strcmp(name, "--seconds") == 0) {
        return number_option(value, 3600, &b->load.seconds);
    }
    if (strcmp(name, "--requests") == 0) {
        return number_option(value, 50000000, &b->load.requests);
    }
    size_t *out = strcmp(name, "--clients") == 0    ? &b->load.clients
                  : strcmp(name, "--pipeline") == 0 ? &b->load.pipeline
                                                    : NULL;
    if (out == NULL || !number_option(value, 10000, &n)) {
        return false;
    }
    *out = (size_t)n;
    return true;
}

static bool take_options(struct bench *b, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            b->json = true;
        } else if (strcmp(argv[i], "--keep") == 0) {
            b->keep = true;
        } else if (i + 1 < argc && take_option(b, argv[i], argv[i + 1])) {
            i++;
        } else {
            (void)fprintf(stderr, "usher bench: %s is no option or lacks a right value\n%s",
                          argv[i], usage_text);
            return false;
        }
    }
    return true;
}

int bench_main(const struct console_options *o, int argc, char **argv)
{
    struct bench *b = mem_must_alloc(sizeof *b);
    struct error e;
    memset(b, 0, sizeof *b);
    b->load.clients = 64;
    b->load.pipeline = 1;
    b->load.requests = 1000000;
    b->load.seconds = 5;
    b->json = o->format != NULL && strcmp(o->format, "json") == 0;
    int status = EXIT_USAGE;
    if (take_options(b, argc, argv)) {
        const struct client_options co = { .addresses = o->addresses,
                                           .user = o->user,
                                           .password = o->password };
        b->load.user = o->user;
        b->load.password = o->password;
        b->load.progress = isatty(STDERR_FILENO) == 1;
        error_clear(&e);
        status = bench(b, &co, &e) == 0 ? EXIT_DONE : EXIT_REFUSED;
        if (status != EXIT_DONE) {
            render_error(&e, span_make("", 0));
        }
    }
    mem_free(b);
    return status;
}
