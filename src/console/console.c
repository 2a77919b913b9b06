/* The console: lines from a terminal (libedit), from -c or from a pipe go to the node, one
 * at a time; what comes back is printed as it comes.
 *
 * The node decides what a line is (a command or Lua) and keeps the session's variables; an
 * incomplete statement comes back with status 2 and no error, and is sent again with the
 * next line added. Ctrl-C ends the running statement, Ctrl-D the console. */
#include "console/console.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "console/client.h"
#include "console/render.h"

#define STATUS_INCOMPLETE 2
#define HISTORY_LINES     1000

struct console {
    const struct console_options *o;
    struct client *client;
    struct render *render;
    struct buf statement; /* lines of an unfinished statement */
    bool failed;          /* some statement failed */
    bool leave;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void print_output(void *arg, struct span kind, struct span text, struct span columns)
{
    struct console *c = arg;
    if (span_is(kind, "value")) {
        render_print(c->render, text, columns);
    } else if (span_is(kind, "progress")) {
        (void)fprintf(stderr, "%.*s\n", (int)text.len, text.data);
    } else {
        (void)fwrite(text.data, 1, text.len, stdout);
        (void)fflush(stdout);
    }
}

static bool is_word(struct span line, const char *word)
{
    while (line.len > 0 && (line.data[line.len - 1] == ' ' || line.data[line.len - 1] == '\t')) {
        line.len--;
    }
    while (line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t')) {
        line.data++;
        line.len--;
    }
    return span_is(line, word);
}

static bool is_blank(struct span line) { return is_word(line, ""); }

static struct span statement_text(const struct console *c)
{
    return span_make((const char *)c->statement.data, c->statement.len);
}

/* Adds a line to the statement and runs it; an incomplete one waits for more. */
static void feed(struct console *c, struct span line)
{
    if (c->statement.len == 0) {
        if (is_blank(line)) {
            return;
        }
        if (is_word(line, "exit") || is_word(line, "quit")) {
            c->leave = true;
            return;
        }
    } else {
        buf_put_u8(&c->statement, '\n');
    }
    buf_put(&c->statement, line.data, line.len);
    if (c->statement.failed || c->statement.len > REQUEST_BYTES_MAX) {
        (void)fprintf(stderr, "TOOBIG the statement is larger than %d bytes\n", REQUEST_BYTES_MAX);
        buf_clear(&c->statement);
        c->failed = true;
        return;
    }
    struct error e;
    struct buf traceback = BUF_INIT;
    interrupted = 0;
    int status =
        client_line(c->client, statement_text(c), print_output, c, &interrupted, &e, &traceback);
    if (status != STATUS_INCOMPLETE || e.code != 0) {
        buf_clear(&c->statement);
        c->failed = c->failed || status != 0;
        if (e.code != 0 && interrupted != 0) {
            (void)fprintf(stderr, "interrupted\n");
        } else if (e.code != 0) {
            render_error(&e, span_make((const char *)traceback.data, traceback.len));
        }
    }
    buf_free(&traceback);
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
        feed(c, span_of(*line));
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
        feed(c, span_make(line, len));
    }
    free(line);
    finish_input(c);
}

/* ---- Interactive ------------------------------------------------------------- */

static char *prompt(EditLine *el)
{
    static char text[320];
    struct console *c = NULL;
    (void)el_get(el, EL_CLIENTDATA, &c);
    if (c->statement.len > 0) {
        (void)snprintf(text, sizeof text, "%*s> ", (int)strlen(client_address(c->client)), "...");
    } else {
        (void)snprintf(text, sizeof text, "%s@%s> ", client_address(c->client),
                       c->o->profile != NULL ? c->o->profile : "usher");
    }
    return text;
}

/* ~/.local/state/usher/history, or NULL when there is no home. */
static const char *history_file(char *path, size_t cap)
{
    const char *home = getenv("HOME");
    if (home == NULL || home[0] != '/') {
        return NULL;
    }
    static const char *const steps[] = { "/.local", "/.local/state", "/.local/state/usher" };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        (void)snprintf(path, cap, "%s%s", home, steps[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return NULL;
        }
    }
    (void)snprintf(path, cap, "%s/.local/state/usher/history", home);
    return path;
}

static void greet(const struct console *c)
{
    (void)printf("usher %s, connected to %s. `help` lists the commands, "
                 "Ctrl-D leaves%s.\n",
                 USHER_VERSION, client_address(c->client),
                 c->o->in_node ? " (the node goes on)" : "");
}

static void run_terminal(struct console *c)
{
    char path[4096];
    EditLine *el = el_init("usher", stdin, stdout, stderr);
    History *past = history_init();
    HistEvent event;
    const char *file = history_file(path, sizeof path);
    (void)history(past, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(past, &event, H_SETUNIQUE, 1);
    if (file != NULL) {
        (void)history(past, &event, H_LOAD, file);
    }
    (void)el_set(el, EL_CLIENTDATA, c);
    (void)el_set(el, EL_PROMPT, prompt);
    (void)el_set(el, EL_EDITOR, "emacs");
    (void)el_set(el, EL_SIGNAL, 0);
    (void)el_set(el, EL_HIST, history, past);
    greet(c);
    while (!c->leave && (c->o->stop == NULL || *c->o->stop == 0)) {
        int count = 0;
        interrupted = 0;
        const char *line = el_gets(el, &count);
        if (line == NULL && interrupted != 0) { /* Ctrl-C at the prompt drops the line */
            buf_clear(&c->statement);
            (void)printf("\n");
            el_reset(el);
            continue;
        }
        if (line == NULL || count <= 0) {
            (void)printf("\n");
            break;
        }
        size_t len = strcspn(line, "\r\n");
        if (!is_blank(span_make(line, len))) {
            (void)history(past, &event, H_ENTER, line);
        }
        feed(c, span_make(line, len));
    }
    if (file != NULL) {
        (void)history(past, &event, H_SAVE, file);
    }
    history_end(past);
    el_end(el);
}

int console_main(const struct console_options *o)
{
    struct error e;
    struct console c = { .o = o };
    struct client_options co = { .addresses = o->addresses,
                                 .user = o->user,
                                 .password = o->password };
    bool terminal = o->commands == NULL && isatty(STDIN_FILENO) == 1;
    int code = render_new(o->format, stdout, &c.render, &e);
    if (code == 0 && (code = client_open(&co, &c.client, &e)) != 0) {
        render_free(c.render);
    }
    if (code != 0) {
        render_error(&e, span_make("", 0));
        return code == ERR_BADARG ? EXIT_USAGE : EXIT_REFUSED;
    }
    struct sigaction on = { .sa_handler = on_interrupt }, old;
    (void)sigaction(SIGINT, &on, &old);
    if (o->commands != NULL) {
        run_commands(&c);
    } else if (terminal) {
        run_terminal(&c);
    } else {
        run_pipe(&c);
    }
    (void)sigaction(SIGINT, &old, NULL);
    client_close(c.client);
    render_free(c.render);
    buf_free(&c.statement);
    return c.failed && !terminal ? EXIT_REFUSED : EXIT_DONE;
}
