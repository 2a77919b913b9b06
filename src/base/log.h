/* Log lines: diagnostics on stderr, one line each, never data.
 *
 * Form: `2026-11-23T22:19:04.123Z info cluster: text`. Thread-safe (one write
 * per line). Text from outside goes through %s and is made one printable line.
 * No customer, order id or code is ever logged (lua.md 2). */
#ifndef USHER_BASE_LOG_H
#define USHER_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };

void log_set_level(enum log_level level); /* default LOG_INFO */
/* Where lines go instead of stderr (tests, the simulator); NULL restores. */
typedef void (*log_sink_cb)(void *arg, enum log_level level, const char *module, const char *text);
void log_set_sink(log_sink_cb cb, void *arg);

/* A prompt stands on the terminal that stderr is: a line first takes away what is on its row,
 * and is counted, so that whoever has drawn the prompt draws it again below. */
void log_share_terminal(bool on);
unsigned log_shared_lines(void);

void log_write(enum log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* A file's own module name: `#define LOG_MODULE "journal"` before including. */
#ifndef LOG_MODULE
#define LOG_MODULE "usher"
#endif
#define log_debug(...) log_write(LOG_DEBUG, LOG_MODULE, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, LOG_MODULE, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, LOG_MODULE, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, LOG_MODULE, __VA_ARGS__)

/* Lets a repeated line through once per `every_ms`; keep one per call site. */
struct log_limit {
    uint64_t next_ms;
    uint64_t dropped;
};
bool log_allowed(struct log_limit *l, uint64_t now_ms, uint64_t every_ms);

#endif
