/* One command from the shell, and scripts: argument files, one call, one answer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "console/client.h"
#include "console/console.h"
#include "console/render.h"

struct arguments {
    struct buf *texts;
    struct span *spans;
    size_t count;
};

static void arguments_free(struct arguments *a)
{
    for (size_t i = 0; i < a->count; i++) {
        buf_free(&a->texts[i]);
    }
    mem_free(a->texts);
    mem_free(a->spans);
}

/* Copies argv, an @FILE as its text. */
static int arguments_read(struct arguments *a, int argc, char **argv, struct error *e)
{
    a->count = 0;
    a->texts = mem_must_alloc((size_t)argc * sizeof *a->texts);
    a->spans = mem_must_alloc((size_t)argc * sizeof *a->spans);
    for (int i = 0; i < argc; i++) {
        struct buf *text = &a->texts[a->count];
        buf_init(text);
        a->count++;
        int code = client_argument(argv[i], text, e);
        if (code != 0) {
            return code;
        }
        a->spans[i] = span_make(text->data != NULL ? (const char *)text->data : "", text->len);
    }
    return 0;
}

static int status_of(int code)
{
    return code == 0 ? EXIT_DONE : code == ERR_BADARG ? EXIT_USAGE : EXIT_REFUSED;
}

static int fail(const struct error *e)
{
    render_error(e, span_make("", 0));
    return status_of(e->code);
}

static struct client_options client_options(const struct console_options *o)
{
    return (struct client_options){ .addresses = o->addresses,
                                    .user = o->user,
                                    .password = o->password };
}

int oneshot_main(const struct console_options *o, int argc, char **argv)
{
    struct error e;
    error_clear(&e);
    struct render *render;
    if (render_new(o->format, stdout, &render, &e) != 0) {
        return fail(&e);
    }
    struct arguments args = { 0 };
    struct client *client = NULL;
    struct client_options co = client_options(o);
    struct buf json = BUF_INIT;
    int code = arguments_read(&args, argc, argv, &e);
    if (code == 0) {
        code = client_open(&co, &client, &e);
    }
    if (code == 0) {
        code = client_call(client, args.count, args.spans, &json, &e);
    }
    if (code == 0) {
        render_print(render, span_make((const char *)json.data, json.len), span_make("", 0));
    }
    if (client != NULL) {
        client_close(client);
    }
    buf_free(&json);
    arguments_free(&args);
    render_free(render);
    return code == 0 ? EXIT_DONE : fail(&e);
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void print_output(void *arg, struct span kind, struct span text, struct span columns)
{
    if (span_is(kind, "value")) {
        render_print(arg, text, columns);
    } else if (span_is(kind, "progress")) {
        (void)fprintf(stderr, "%.*s\n", (int)text.len, text.data);
    } else {
        (void)fwrite(text.data, 1, text.len, stdout);
        (void)fflush(stdout);
    }
}

static int read_script(const char *path, struct buf *out, struct error *e)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (in == NULL) {
        error_set(e, ERR_BADARG, "cannot read the script %s: %s", path, strerror(errno));
        return ERR_BADARG;
    }
    size_t n = 1;
    while (n > 0 && out->len <= REQUEST_BYTES_MAX && buf_reserve(out, 65536)) {
        n = fread(out->data + out->len, 1, out->cap - out->len, in);
        out->len += n;
    }
    bool bad = ferror(in) != 0;
    if (in != stdin) {
        (void)fclose(in);
    }
    if (bad || out->failed || out->len > REQUEST_BYTES_MAX) {
        return error_set(e, ERR_BADARG, "cannot read the script %s whole (at most %d bytes)", path,
                         REQUEST_BYTES_MAX);
    }
    return 0;
}

int run_main(const struct console_options *o, int argc, char **argv)
{
    struct error e;
    error_clear(&e);
    if (argc < 1) {
        (void)fprintf(stderr, "usage: usher run SCRIPT.lua [ARG...] [--at ADDR]\n");
        return EXIT_USAGE;
    }
    struct buf script = BUF_INIT, traceback = BUF_INIT;
    struct arguments args = { 0 };
    struct client *client = NULL;
    struct render *render = NULL;
    struct client_options co = client_options(o);
    int status = EXIT_REFUSED;
    if (read_script(argv[0], &script, &e) == 0 &&
        arguments_read(&args, argc - 1, argv + 1, &e) == 0 &&
        render_new(o->format, stdout, &render, &e) == 0 && client_open(&co, &client, &e) == 0) {
        struct sigaction on = { .sa_handler = on_interrupt }, old;
        (void)sigaction(SIGINT, &on, &old);
        status = client_run(client, span_of(strcmp(argv[0], "-") == 0 ? "stdin" : argv[0]),
                            span_make((const char *)script.data, script.len), args.count,
                            args.spans, print_output, render, &interrupted, &e, &traceback);
        (void)sigaction(SIGINT, &old, NULL);
    } else {
        status = status_of(e.code);
    }
    if (e.code != 0) {
        render_error(&e, span_make((const char *)traceback.data, traceback.len));
    }
    if (client != NULL) {
        client_close(client);
    }
    if (render != NULL) {
        render_free(render);
    }
    buf_free(&script);
    buf_free(&traceback);
    arguments_free(&args);
    return status < 0 ? EXIT_REFUSED : status;
}
