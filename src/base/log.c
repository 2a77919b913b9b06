/* See log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int log_level = LOG_INFO;
static log_sink_cb log_sink;
static void *log_sink_arg;
static _Atomic bool log_shares;
static _Atomic unsigned log_shared;

void log_set_level(enum log_level level) { atomic_store(&log_level, (int)level); }

void log_set_sink(log_sink_cb cb, void *arg)
{
    log_sink = cb;
    log_sink_arg = arg;
}

void log_share_terminal(bool on) { atomic_store(&log_shares, on && isatty(STDERR_FILENO) == 1); }

unsigned log_shared_lines(void) { return atomic_load(&log_shared); }

static const char *const level_names[] = { "debug", "info", "warn", "error", "none" };

static size_t put_time(char *out, size_t cap)
{
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    int more = snprintf(out + n, cap - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
    return n + (more > 0 ? (size_t)more : 0);
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
    if ((int)level < atomic_load(&log_level)) {
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (unsigned char *p = (unsigned char *)text; *p != 0; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }
    if (log_sink != NULL) {
        log_sink(log_sink_arg, level, module, text);
        return;
    }
    char line[1200] = "\r\33[K";
    bool shares = atomic_load(&log_shares);
    size_t n = shares ? strlen(line) : 0;
    n += put_time(line + n, sizeof line - n);
    int more =
        snprintf(line + n, sizeof line - n, " %s %s: %s\n", level_names[level], module, text);
    if (more > 0) {
        n += (size_t)more < sizeof line - n ? (size_t)more : sizeof line - n - 1;
        ssize_t ignored = write(STDERR_FILENO, line, n);
        (void)ignored;
    }
    atomic_fetch_add(&log_shared, shares);
}

bool log_allowed(struct log_limit *l, uint64_t now_ms, uint64_t every_ms)
{
    if (now_ms < l->next_ms) {
        l->dropped++;
        return false;
    }
    l->next_ms = now_ms + every_ms;
    l->dropped = 0;
    return true;
}
