/* See history.h. A line of the file is a statement: `\n` stands for a line end in it and `\\`
 * for a backslash. Nothing here fails loudly: a console without a history is a console. */
#include "console/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

bool history_path(char *path, size_t cap)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (state != NULL && state[0] == '/') {
        n = snprintf(path, cap, "%s", state);
        if (n < 0 || (size_t)n + sizeof "/usher/history" > cap ||
            (mkdir(path, 0700) != 0 && errno != EEXIST)) {
            return false;
        }
        (void)snprintf(path + n, cap - (size_t)n, "/usher");
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return false;
        }
        (void)snprintf(path + n, cap - (size_t)n, "/usher/history");
        return true;
    }
    if (home == NULL || home[0] != '/') {
        return false;
    }
    n = snprintf(path, cap, "%s/.usher_history", home);
    return n > 0 && (size_t)n < cap;
}

static void unescape(char *line)
{
    char *to = line;
    for (const char *p = line; *p != 0; p++) {
        if (*p == '\\' && p[1] != 0) {
            p++;
            *to++ = *p == 'n' ? '\n' : *p;
        } else {
            *to++ = *p;
        }
    }
    *to = 0;
}

static void escape(struct span s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '\n' || s.data[i] == '\\') {
            buf_put(out, s.data[i] == '\n' ? "\\n" : "\\\\", 2);
        } else {
            buf_put_u8(out, (uint8_t)s.data[i]);
        }
    }
    buf_put_u8(out, '\n');
}

static int open_private(const char *path, int flags)
{
    int fd = open(path, flags | O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        (void)fchmod(fd, 0600); /* also one that was there */
    }
    return fd;
}

/* Keeps the newest lines: written beside it and renamed. */
static void shorten(const char *path, char **lines, size_t count)
{
    char temporary[4096 + 16];
    struct buf b = BUF_INIT;
    int n = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        escape(span_of(lines[i]), &b);
    }
    int fd = open_private(temporary, O_TRUNC);
    bool good = fd >= 0 && !b.failed && write(fd, b.data, b.len) == (ssize_t)b.len;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!good || rename(temporary, path) != 0) {
        (void)unlink(temporary);
    }
    buf_free(&b);
}

void history_load(const char *path, void (*cb)(void *arg, const char *statement), void *arg)
{
    FILE *in = fopen(path, "re");
    char **kept = mem_zalloc(HISTORY_LINES * sizeof *kept), *line = NULL;
    size_t cap = 0, total = 0;
    ssize_t n;
    while (in != NULL && kept != NULL && (n = getline(&line, &cap, in)) > 0) {
        if (line[n - 1] == '\n') {
            line[n - 1] = 0;
        }
        if (line[0] != 0) {
            char **slot = &kept[total++ % HISTORY_LINES];
            unescape(line);
            mem_free(*slot);
            *slot = mem_strndup(line, strlen(line));
        }
    }
    size_t count = total < HISTORY_LINES ? total : HISTORY_LINES;
    char **ordered = mem_zalloc((count + 1) * sizeof *ordered);
    for (size_t i = 0; ordered != NULL && i < count; i++) {
        ordered[i] = kept[(total - count + i) % HISTORY_LINES];
        cb(arg, ordered[i]);
    }
    if (ordered != NULL && total >= 2 * (size_t)HISTORY_LINES) {
        shorten(path, ordered, count);
    }
    for (size_t i = 0; kept != NULL && i < HISTORY_LINES; i++) {
        mem_free(kept[i]);
    }
    mem_free(kept);
    mem_free(ordered);
    free(line);
    if (in != NULL) {
        (void)fclose(in);
    }
}

void history_append(const char *path, struct span statement)
{
    struct buf b = BUF_INIT;
    escape(statement, &b);
    int fd = open_private(path, O_APPEND);
    if (fd >= 0) {
        (void)!write(fd, b.data, b.len); /* one write: lines of two consoles do not mix */
        (void)close(fd);
    }
    buf_free(&b);
}
