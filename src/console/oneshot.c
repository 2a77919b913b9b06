/* One command from the shell, and scripts: argument files, one call, one answer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "console/backup.h"
#include "console/client.h"
#include "console/console.h"
#include "console/interrupt.h"
#include "console/render.h"

struct arguments {
    struct buf *texts;
    struct span *spans;
    size_t count, given; /* texts; spans in use */
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
    a->count = a->given = 0;
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
        a->given++;
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

static void print_output(void *arg, struct span kind, struct span text, struct span columns)
{
    render_frame(arg, kind, text, columns);
}

static void say_waiting(void *arg, unsigned n)
{
    (void)arg, (void)n;
    (void)fputs("still waiting for the node to end it; Ctrl-C once more leaves\n", stderr);
}

/* What a change of the cluster would do to its quorum, before it is asked about. */
static int preview(struct render *render, struct client *client, const struct client_hooks *hooks,
                   const struct arguments *args, struct error *e)
{
    struct buf json = BUF_INIT;
    struct span *words = mem_must_alloc((args->given + 1) * sizeof *words);
    memcpy(words, args->spans, args->given * sizeof *words);
    words[args->given] = span_of("--dry-run");
    int code = client_stream(client, args->given + 1, words, hooks, &json, e);
    if (code == 0) {
        render_print(render, span_make((const char *)json.data, json.len), span_make("", 0));
    }
    mem_free(words);
    buf_free(&json);
    return code;
}

/* The words as a list in JSON, for assist.lua. */
static void words_json(const struct arguments *args, size_t count, struct buf *out)
{
    buf_put_u8(out, '[');
    for (size_t i = 0; i < count; i++) {
        json_put_comma(out);
        json_put_string(out, args->spans[i]);
    }
    buf_put_u8(out, ']');
}

/* Runs it on the node. Ctrl-C ends it with the connection; where that needs explaining it is. */
static int run(struct render *render, struct client *client, struct client_hooks hooks,
               const struct arguments *args, struct buf *json, struct error *e)
{
    struct buf words = BUF_INIT, text = BUF_INIT;
    words_json(args, args->given, &words);
    struct span list = span_make((const char *)words.data, words.len);
    bool taken = render_assist_json(render, "interrupted_words", &list, 1, &text, NULL) &&
                 interrupt_take(false);
    if (taken) {
        hooks.leaves = true;
        hooks.interrupts = interrupt_counter();
        hooks.wake_fd = interrupt_fd();
    }
    int code = client_stream(client, args->given, args->spans, &hooks, json, e);
    if (taken && code != 0 && interrupt_count() > 0) {
        (void)error_set(e, ERR_CANCELED, "%.*s", (int)text.len, (const char *)text.data);
    }
    if (taken) {
        interrupt_release();
    }
    buf_free(&words);
    buf_free(&text);
    return code;
}

static bool says_yes(const struct buf *question)
{
    char answer[16] = "";
    (void)printf("%.*s", (int)question->len, (char *)question->data);
    (void)fflush(stdout);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Something dangerous asks first, where somebody can be asked; --yes is the answer given in
 * advance and stays here. 0: go on. */
static int confirm(struct render *render, struct client *client, const struct client_hooks *hooks,
                   struct arguments *args, struct error *e)
{
    struct buf words = BUF_INIT, question = BUF_INIT, place = BUF_INIT, before = BUF_INIT;
    int code = 0;
    words_json(args, args->count, &words);
    struct span text = span_make((const char *)words.data, words.len);
    bool asks = render_assist_json(render, "confirm_words", &text, 1, &question, &place);
    (void)render_assist_json(render, "before_words", &text, 1, &before, NULL);
    struct span first = span_make((const char *)before.data, before.len);
    buf_put_u8(&place, 0);
    size_t yes = place.len > 1 ? (size_t)atoi((char *)place.data) : 0;
    if (yes > 1 && yes <= args->count) {
        memmove(args->spans + yes - 1, args->spans + yes,
                (args->count - yes) * sizeof *args->spans);
        args->given--;
    } else if (asks && !span_is(first, "none") && isatty(STDIN_FILENO) == 1 &&
               isatty(STDOUT_FILENO) == 1) {
        code = span_is(first, "show") ? preview(render, client, hooks, args, e) : 0;
        if (code == 0 && !says_yes(&question)) {
            code = error_set(e, ERR_CANCELED, "left, nothing was done");
        }
    }
    buf_free(&words);
    buf_free(&question);
    buf_free(&place);
    buf_free(&before);
    return code;
}

/* A file on this machine, not on the node's. */
static int take_backup(struct client *client, const struct arguments *args, struct buf *json,
                       struct error *e)
{
    struct buf note = BUF_INIT;
    bool taken = interrupt_take(false);
    int code = backup_take(client, args->given, args->spans, taken ? interrupt_counter() : NULL,
                           json, &note, e);
    if (taken) {
        interrupt_release();
    }
    (void)fprintf(stderr, "%.*s%s", (int)note.len, note.len > 0 ? (char *)note.data : "",
                  note.len > 0 ? "\n" : "");
    buf_free(&note);
    return code;
}

/* Page by page where it is long. Ctrl-C leaves the pages, which set the terminal right. */
static void show_answer(struct render *render, const struct buf *json)
{
    bool taken = interrupt_take(false);
    if (taken) {
        interrupt_clear();
    }
    render_paged(render, taken && isatty(STDIN_FILENO) == 1);
    render_print(render, span_make((const char *)json->data, json->len), span_make("", 0));
    if (taken) {
        interrupt_release();
    }
}

int oneshot_main(const struct console_options *o, int argc, char **argv)
{
    struct error e;
    error_clear(&e);
    struct render *render;
    if (render_new(o->format, stdout, &render, &e) != 0) {
        return fail(&e);
    }
    /* `usher hold --help`, as people type it, is `usher help hold`. */
    char help_word[] = "help", *help[] = { help_word, argv[0] };
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        argv = help;
    }
    struct arguments args = { 0 };
    struct client *client = NULL;
    struct client_options co = client_options(o);
    const struct client_hooks hooks = { .output = print_output, .arg = render, .wake_fd = -1 };
    struct buf json = BUF_INIT;
    int code = arguments_read(&args, argc, argv, &e);
    code = code == 0 ? client_open(&co, &client, &e) : code;
    code = code == 0 ? confirm(render, client, &hooks, &args, &e) : code;
    if (code == 0) {
        code = backup_is(args.given, args.spans) ? take_backup(client, &args, &json, &e)
                                                 : run(render, client, hooks, &args, &json, &e);
    }
    if (code == ERR_UNREACHABLE && strcmp(argv[0], "help") == 0) {
        error_hint(&e, "a node lists the commands; `usher --help` shows the programs");
    }
    if (code == 0) {
        show_answer(render, &json);
    }
    if (client != NULL) {
        client_close(client);
    }
    buf_free(&json);
    arguments_free(&args);
    render_free(render);
    return code == 0 ? EXIT_DONE : fail(&e);
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
    struct buf script = BUF_INIT, traceback = BUF_INIT;
    struct arguments args = { 0 };
    struct client *client = NULL;
    struct render *render = NULL;
    struct client_options co = client_options(o);
    int status = EXIT_REFUSED;
    if (read_script(argv[0], &script, &e) == 0 &&
        arguments_read(&args, argc - 1, argv + 1, &e) == 0 &&
        render_new(o->format, stdout, &render, &e) == 0 && client_open(&co, &client, &e) == 0 &&
        interrupt_take(false)) {
        const struct client_hooks hooks = { .output = print_output,
                                            .impatient = say_waiting,
                                            .arg = render,
                                            .interrupts = interrupt_counter(),
                                            .wake_fd = interrupt_fd() };
        status = client_run(client, span_of(strcmp(argv[0], "-") == 0 ? "stdin" : argv[0]),
                            span_make((const char *)script.data, script.len), args.count,
                            args.spans, &hooks, &e, &traceback);
        interrupt_release();
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
