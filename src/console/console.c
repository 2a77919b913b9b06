/* The console: lines from a terminal (terminal.c), from -c or from a pipe go to the node, one
 * at a time; what comes back is printed as it comes.
 *
 * The node decides what a line is (a command or Lua) and keeps the session's variables; an
 * incomplete statement comes back with status 2 and no error, and is sent again with the
 * next line added. A few lines are the console's own (assist.lua, `own`): exit, set output,
 * history, ?. Ctrl-C ends the running statement on the node; asked again, the console says what
 * it waits for; the third time it gives the connection up. Nothing of this touches the node's
 * other work. */
#include "console/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "console/backup.h"
#include "console/console_impl.h"
#include "console/interrupt.h"
#include "console/policy.h"

#define STATUS_INCOMPLETE 2 /* of the node; a program's 2 is a wrong word */

static void print_output(void *arg, struct span kind, struct span text, struct span columns)
{
    struct console *c = arg;
    if (span_is(kind, "exit")) {
        c->leave = c->exited = true;
        c->exit_status = (int)strtol(text.data, NULL, 10);
        return;
    }
    render_frame(c->render, kind, text, columns);
}

static void say_what_it_waits_for(void *arg, unsigned n)
{
    const struct console *c = arg;
    const char *end = memchr(c->running.data, '\n', c->running.len);
    size_t len = end != NULL ? (size_t)(end - c->running.data) : c->running.len;
    (void)n;
    (void)fprintf(stderr,
                  "\r\33[Kwaiting for %s to end `%.*s`: it was told to, and has not answered. "
                  "Ctrl-C once more gives the connection up.\n",
                  client_address(c->client), (int)(len < 60 ? len : 60), c->running.data);
}

static struct span trim(struct span s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.data[s.len - 1]) != NULL) {
        s.len--;
    }
    while (s.len > 0 && strchr(" \t\r\n", s.data[0]) != NULL) {
        s.data++;
        s.len--;
    }
    return s;
}

bool console_is_blank(struct span line) { return trim(line).len == 0; }

static struct span statement_text(const struct console *c)
{
    return span_make((const char *)c->statement.data, c->statement.len);
}

static void set_format(struct console *c, const struct buf *name)
{
    char text[16] = "";
    struct error e;
    (void)snprintf(text, sizeof text, "%.*s", (int)name->len, (const char *)name->data);
    (void)render_format(c->render, text, &e);
    if (render_on_terminal(c->render)) {
        (void)printf("answers are shown as %s from now on\n", text);
    }
}

/* Lines that the console itself deals with. False: the node's, maybe as another text. */
static bool own_line(struct console *c, struct span *line, struct buf *other)
{
    struct buf what = BUF_INIT;
    bool done = false;
    if (render_assist(c->render, "own", line, 1, &what, other)) {
        struct span verb = span_make((const char *)what.data, what.len);
        if (span_is(verb, "exit")) {
            c->leave = done = true;
        } else if (span_is(verb, "format")) {
            set_format(c, other);
            done = true;
        } else if (span_is(verb, "formats")) {
            (void)fputs("BADARG set output to what?; write set output table, json, lua or csv\n",
                        stderr);
            c->failed = done = true;
        } else if (span_is(verb, "line")) {
            *line = span_make((const char *)other->data, other->len);
        }
    }
    buf_free(&what);
    return done;
}

static void report_interrupt(struct console *c, const char *why)
{
    struct buf text = BUF_INIT;
    if (why != NULL || !render_assist(c->render, "interrupted", &c->running, 1, &text, NULL)) {
        buf_put_str(&text, why != NULL ? why : "interrupted");
    }
    (void)fprintf(stderr, "\r\33[K%.*s\n", (int)text.len, (const char *)text.data);
    buf_free(&text);
}

static void report(struct console *c, int status, const struct error *e,
                   const struct buf *traceback)
{
    c->failed = c->failed || status != 0;
    if (e->code == 0) {
        return;
    }
    if (interrupt_count() > 0 && e->code != ERR_IO && e->code != ERR_UNREACHABLE) {
        report_interrupt(c, e->code == ERR_CANCELED && status == -1 ? e->message : NULL);
        return;
    }
    render_error(e, span_make((const char *)traceback->data, traceback->len));
}

/* `backup FILE` writes a file here, not on the node. */
static bool run_backup(struct console *c, int *status, struct error *e)
{
    struct buf json = BUF_INIT, note = BUF_INIT;
    int code = 0;
    error_clear(e);
    bool is = backup_line(c->client, c->running, c->hooks.interrupts, &json, &note, &code, e);
    if (is && code == 0) {
        render_print(c->render, span_make((const char *)json.data, json.len), span_make("", 0));
        (void)fflush(stdout);
        (void)fprintf(stderr, "%.*s\n", (int)note.len, (char *)note.data);
    }
    *status = code != 0 ? EXIT_REFUSED : EXIT_DONE;
    buf_free(&json);
    buf_free(&note);
    return is;
}

static void run_statement(struct console *c)
{
    struct error e;
    struct buf traceback = BUF_INIT;
    interrupt_clear();
    render_begin(c->render);
    c->running = statement_text(c);
    int status = 0;
    bool incomplete = false;
    error_clear(&e);
    if (!policy_line(c->o, c->running, &status) && !run_backup(c, &status, &e)) {
        status = client_line(c->client, c->running, &c->hooks, &e, &traceback);
        incomplete = status == STATUS_INCOMPLETE && e.code == 0;
    }
    if (client_sessions(c->client) > 1 && client_sessions(c->client) != c->sessions) {
        (void)fprintf(stderr, "connected to %s; a new session: its variables are gone\n",
                      client_address(c->client));
    }
    c->sessions = client_sessions(c->client);
    if (!incomplete || c->exited) {
        report(c, status, &e, &traceback);
        buf_clear(&c->statement);
    }
    c->running = span_make("", 0);
    buf_free(&traceback);
}

void console_feed(struct console *c, struct span line)
{
    struct buf other = BUF_INIT;
    if (c->statement.len > 0) {
        buf_put_u8(&c->statement, '\n');
    } else if (console_is_blank(line) || own_line(c, &line, &other)) {
        buf_free(&other);
        return;
    }
    buf_put(&c->statement, line.data, line.len);
    buf_free(&other);
    if (c->statement.failed || c->statement.len > REQUEST_BYTES_MAX) {
        (void)fprintf(stderr, "TOOBIG the statement is larger than %d bytes\n", REQUEST_BYTES_MAX);
        buf_clear(&c->statement);
        c->failed = true;
        return;
    }
    run_statement(c);
}

static void finish_input(struct console *c)
{
    if (c->statement.len > 0) {
        (void)fprintf(stderr, "BADARG the input ends inside a statement: %.*s\n",
                      (int)(c->statement.len < 200 ? c->statement.len : 200),
                      (char *)c->statement.data);
        c->failed = true;
    }
}

static void run_commands(struct console *c)
{
    for (const char *const *line = c->o->commands; *line != NULL && !c->failed && !c->leave;
         line++) {
        console_feed(c, span_of(*line));
        finish_input(c);
    }
}

static void run_pipe(struct console *c)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while (!c->leave && (n = getline(&line, &cap, stdin)) >= 0) {
        size_t len = (size_t)n;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
            len--;
        }
        console_feed(c, span_make(line, len));
    }
    free(line);
    finish_input(c);
}

static int open_console(struct console *c, struct error *e)
{
    const struct console_options *o = c->o;
    struct client_options co = { .addresses = o->addresses,
                                 .user = o->user,
                                 .password = o->password };
    int code = render_new(o->format, stdout, &c->render, e);
    if (code == 0 && (code = client_open(&co, &c->client, e)) != 0) {
        render_free(c->render);
    }
    if (code == 0 && !interrupt_take(o->in_node)) {
        code = error_set(e, ERR_INTERNAL, "no pipe: %s", strerror(errno));
        client_close(c->client);
        render_free(c->render);
    }
    return code;
}

int console_main(const struct console_options *o)
{
    struct error e;
    struct console c = { .o = o };
    bool terminal = o->commands == NULL && isatty(STDIN_FILENO) == 1;
    int code = open_console(&c, &e);
    if (code != 0) {
        render_error(&e, span_make("", 0));
        return code == ERR_BADARG ? EXIT_USAGE : EXIT_REFUSED;
    }
    c.hooks = (struct client_hooks){ .output = print_output,
                                     .impatient = say_what_it_waits_for,
                                     .arg = &c,
                                     .interrupts = interrupt_counter(),
                                     .wake_fd = interrupt_fd() };
    if (o->commands != NULL) {
        run_commands(&c);
    } else if (terminal) {
        terminal_run(&c);
    } else {
        run_pipe(&c);
    }
    interrupt_release();
    client_close(c.client);
    render_free(c.render);
    buf_free(&c.statement);
    if (c.exited) {
        return c.exit_status;
    }
    return c.failed && !terminal ? EXIT_REFUSED : EXIT_DONE;
}
