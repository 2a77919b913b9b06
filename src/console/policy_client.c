/* See policy.h. How a policy is deployed:
 *
 *   read the files -> compile them in a VM of our own -> run their specs in a process of their
 *   own (a failing spec may end it) -> ask which version is there -> deploy-policy --expect it
 *
 * How it fails: each step says what is wrong and nothing is sent; two deploys at once: the
 * second meets another version than it expected (CONFLICT). The command carries a request id,
 * so a leader that dies meanwhile costs a retry, not a second version. */
#include "console/policy.h"

#include <errno.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "console/client.h"
#include "console/render.h"
#include "policy/bundle_files.h"
#include "policy/policy.h"

extern char **environ;

#define PROGRAM_PATH "/proc/self/exe"

static int fail(const struct error *e)
{
    render_error(e, span_make("", 0));
    return e->code == ERR_BADARG ? EXIT_USAGE : EXIT_REFUSED;
}

void policy_usage(FILE *out)
{
    (void)fputs("usage: usher policy test PATH [--customers N] [--seed N] [BUSTED-OPTION...]\n"
                "                                                  its *_spec.lua, no cluster\n"
                "       usher policy check PATH                    compiles it, no cluster\n"
                "       usher policy list | show [VERSION] [--only FILE]\n"
                "       usher policy diff PATH | VERSION [VERSION]\n"
                "       usher policy deploy PATH [--expect N] [--author WHO] [--no-test]\n"
                "       usher policy rollback [VERSION] [--expect N] [--author WHO]\n"
                "       usher policy rehearse PATH|VERSION [--last N | --since T]\n"
                "PATH is a .lua file, or a folder with policy.lua and its modules.\n",
                out);
}

static int usage(void)
{
    policy_usage(stderr);
    return EXIT_USAGE;
}

/* ---- A bundle here ---------------------------------------------------------------------- */

/* The line (from 1) of the first byte that begins no UTF-8 character; 0 when there is none. */
static size_t foreign_line(struct span text)
{
    size_t line = 1;
    while (text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        if (!text_is_utf8(span_make(text.data, len))) {
            return line;
        }
        len += end != NULL;
        text = span_make(text.data + len, text.len - len);
        line++;
    }
    return 0;
}

/* Bundles travel as JSON, which is UTF-8, whatever Lua makes of other bytes. */
static int check_text(struct span bundle, struct error *e)
{
    struct reader r;
    struct span name, text;
    reader_init(&r, bundle.data, bundle.len);
    while (policy_bundle_next(&r, &name, &text) == 0) {
        size_t line = foreign_line(text);
        bool mark = text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0;
        if (line > 0 || mark) {
            return error_set(e, ERR_BADARG, "%.*s:%zu: %s", (int)name.len, name.data,
                             line > 0 ? line : 1,
                             line > 0 ? "not UTF-8: save it as UTF-8"
                                      : "a byte order mark: save it as UTF-8 without one");
        }
    }
    return 0;
}

/* Compiles and loads it as a node would. */
static int compile(struct span bundle, struct error *e)
{
    struct policy_options o = { .seed = { 1, 2 } };
    struct registry *r = registry_new();
    struct policy *p = NULL;
    int rc = r == NULL ? error_set(e, ERR_NOMEM, "out of memory") : check_text(bundle, e);
    if (rc == 0) {
        rc = policy_new(&o, r, &p, e);
    }
    if (rc == 0) {
        rc = policy_load(p, 1, bundle, e);
    }
    policy_free(p);
    registry_free(r);
    return rc;
}

static int read_compiled(const char *path, struct buf *bundle, struct error *e)
{
    int rc = policy_files_read(path, bundle, e);
    if (rc == 0) {
        rc = compile(span_make((const char *)bundle->data, bundle->len), e);
        if (rc != 0) {
            error_hint(e, "in %s; nothing was sent", path);
        }
    }
    return rc;
}

static void print_checked(const char *path, const struct buf *bundle)
{
    struct reader r;
    struct span name, text;
    size_t files = 0, bytes = 0;
    reader_init(&r, bundle->data, bundle->len);
    while (policy_bundle_next(&r, &name, &text) == 0) {
        files++;
        bytes += text.len;
    }
    (void)printf("%s is right: %zu file%s, %zu bytes\n", path, files, files == 1 ? "" : "s", bytes);
}

/* As every check: 0 right, 1 wrong, 2 there is nothing to check. */
static int check_program(const char *path)
{
    struct buf bundle = BUF_INIT;
    struct error e;
    error_clear(&e);
    if (policy_files_read(path, &bundle, &e) != 0) {
        buf_free(&bundle);
        return fail(&e);
    }
    int rc = compile(span_make((const char *)bundle.data, bundle.len), &e);
    if (rc == 0) {
        print_checked(path, &bundle);
    } else {
        error_hint(&e, "in %s", path);
        render_error(&e, span_make("", 0));
    }
    buf_free(&bundle);
    return rc == 0 ? EXIT_DONE : EXIT_REFUSED;
}

/* {"policy.lua": "text", ...} */
static int bundle_json(const struct buf *bundle, struct buf *out, struct error *e)
{
    struct reader r;
    struct span name, text;
    reader_init(&r, bundle->data, bundle->len);
    buf_put_u8(out, '{');
    while (policy_bundle_next(&r, &name, &text) == 0) {
        json_put_comma(out);
        json_put_string(out, name);
        buf_put_u8(out, ':');
        json_put_string(out, text);
    }
    buf_put_u8(out, '}');
    return out->failed ? error_set(e, ERR_NOMEM, "out of memory") : 0;
}

/* ---- Its specs -------------------------------------------------------------------------- */

static int spawn_self(char **argv, bool to_stderr)
{
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = 0;
    (void)posix_spawn_file_actions_init(&actions);
    if (to_stderr) { /* standard output is for the answer */
        (void)posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    }
    int rc = posix_spawn(&child, PROGRAM_PATH, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        (void)fprintf(stderr, "usher: cannot start this program again: %s\n", strerror(rc));
        return EXIT_REFUSED;
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return EXIT_REFUSED;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_REFUSED;
}

/* The folder of a path; `out` has room for PATH_MAX. False when it is too long. */
static bool folder_of(const char *path, char *out)
{
    struct stat s;
    int n = snprintf(out, PATH_MAX, "%s", path);
    if (n < 0 || n >= PATH_MAX) {
        return false;
    }
    if (stat(path, &s) == 0 && !S_ISDIR(s.st_mode)) {
        char copy[PATH_MAX];
        memcpy(copy, out, (size_t)n + 1);
        (void)snprintf(out, PATH_MAX, "%s", dirname(copy));
    }
    return true;
}

static size_t count_specs(const char *path)
{
    char folder[PATH_MAX], pattern[PATH_MAX + 16];
    glob_t found;
    if (!folder_of(path, folder)) {
        return 0;
    }
    (void)snprintf(pattern, sizeof pattern, "%s/*_spec.lua", folder);
    size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    if (n > 0) {
        globfree(&found);
    }
    return n;
}

/* A lone file beside foreign specs is tested only by its own: NAME_spec.lua. */
static int run_specs(const char *path, struct error *e)
{
    struct stat s;
    char spec[PATH_MAX];
    bool folder = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    const char *end = strrchr(path, '/');
    bool main_file = strcmp(end != NULL ? end + 1 : path, "policy.lua") == 0;
    (void)snprintf(spec, sizeof spec, "%s", path);
    if (!folder && !main_file) {
        size_t len = strlen(path);
        len -= len > 4 && strcmp(path + len - 4, ".lua") == 0 ? 4 : 0;
        (void)snprintf(spec, sizeof spec, "%.*s_spec.lua", (int)len, path);
    }
    bool any = folder || main_file ? count_specs(path) > 0 : stat(spec, &s) == 0;
    if (!any) {
        (void)fprintf(stderr, "there are no specs beside %s: it is deployed untested\n", path);
        return 0;
    }
    char program[] = "usher", policy[] = "policy", test[] = "test";
    char *argv[] = { program, policy, test, spec, NULL };
    if (spawn_self(argv, true) != EXIT_DONE) {
        error_set(e, ERR_DENIED, "the specs of %s fail: nothing was deployed", path);
        error_hint(e, "correct the policy or its specs; --no-test deploys without running them");
        return ERR_DENIED;
    }
    return 0;
}

/* ---- Words and options -------------------------------------------------------------------- */

/* Whether the option is given, as `--option value` or `--option=value`. */
static bool given(int argc, char **argv, const char *option)
{
    size_t len = strlen(option);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], option, len) == 0 && (argv[i][len] == 0 || argv[i][len] == '=')) {
            return true;
        }
    }
    return false;
}

static bool is_version(const char *word)
{
    int64_t n;
    return word != NULL && text_int64(span_of(word), &n) && n >= 0 && n <= UINT32_MAX;
}

/* One option of `deploy` or `rollback`; *i moves to its value. */
static int check_option(const char *verb, int argc, char **argv, int *i, struct error *e)
{
    static const char *const options[] = { "--expect",  "--author",  "--request",
                                           "--dry-run", "--no-test", NULL };
    const char *word = argv[*i], *equals = strchr(word, '=');
    struct span name = span_make(word, equals != NULL ? (size_t)(equals - word) : strlen(word));
    bool deploy = strcmp(verb, "deploy") == 0;
    bool no_test = span_is(name, "--no-test"), flag = no_test || span_is(name, "--dry-run");
    bool known = deploy || !no_test;
    const char *near = text_nearest(name, options);
    if (!known || near == NULL || !span_is(name, near)) {
        return error_set(e, ERR_BADARG, "policy %s has no option %.*s%s%s%s", verb, (int)name.len,
                         name.data, known && near != NULL ? "; did you mean " : "",
                         known && near != NULL ? near : "", known && near != NULL ? "?" : "");
    }
    if (flag) {
        return 0;
    }
    const char *value = equals != NULL ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (span_is(name, "--expect") && !is_version(value)) {
        return error_set(e, ERR_BADARG, "policy %s: --expect takes a version's number", verb);
    }
    return value != NULL && *value != 0 ? 0
                                        : error_set(e, ERR_BADARG, "policy %s: %.*s takes a value",
                                                    verb, (int)name.len, name.data);
}

/* Everything that may follow is looked at before anything is done. */
static int check_words(const char *verb, int argc, char **argv, struct error *e)
{
    bool deploy = strcmp(verb, "deploy") == 0;
    int words = 0, rc = 0;
    for (int i = 0; rc == 0 && i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0) {
            rc = check_option(verb, argc, argv, &i, e);
        } else if (deploy) {
            rc = error_set(e, ERR_BADARG, "policy deploy takes one path, not also %s", argv[i]);
        } else if (words++ > 0) {
            rc = error_set(e, ERR_BADARG, "policy rollback takes at most a version");
        } else if (!is_version(argv[i])) {
            rc = error_set(e, ERR_BADARG, "policy rollback takes a version's number, not %s",
                           argv[i]);
        }
    }
    if (rc != 0) {
        error_hint(e, "usage: policy %s",
                   deploy ? "deploy PATH [--expect N] [--author WHO] [--no-test]"
                          : "rollback [VERSION] [--expect N] [--author WHO]");
    }
    return rc;
}

/* Who may not do what `policy VERB` is made of is told of that, not of its parts. */
static void name_verb(struct error *e, const char *verb)
{
    static const char needs[] = "` needs access ";
    const char *rest = e->code == ERR_NOPERM ? strstr(e->message, needs) : NULL;
    if (rest != NULL) {
        struct error told = *e;
        (void)error_set(e, ERR_NOPERM, "`policy %s%s", verb, told.message + (rest - e->message));
        error_hint(e, "%s", told.hint);
    }
}

/* ---- Commands ------------------------------------------------------------------------------ */

struct session {
    struct client *client;
    struct render *render;
};

static int session_open(struct session *s, const struct console_options *o, struct error *e)
{
    const struct client_options co = { .addresses = o->addresses,
                                       .user = o->user,
                                       .password = o->password };
    int rc = render_new(o->format, stdout, &s->render, e);
    return rc != 0 ? rc : client_open(&co, &s->client, e);
}

static void session_close(struct session *s)
{
    if (s->client != NULL) {
        client_close(s->client);
    }
    if (s->render != NULL) {
        render_free(s->render);
    }
}

static int call_and_print(struct session *s, const struct span *words, size_t count,
                          struct error *e)
{
    struct buf json = BUF_INIT;
    int rc = client_call(s->client, count, words, &json, e);
    if (rc == 0) {
        render_print(s->render, span_make((const char *)json.data, json.len), span_make("", 0));
    }
    buf_free(&json);
    return rc;
}

/* Number of the newest version: the first "version" of the newest-first list. */
static int newest_version(struct session *s, char out[24], struct error *e)
{
    struct buf json = BUF_INIT;
    struct span words[] = { span_of("policies") };
    int rc = client_call(s->client, 1, words, &json, e);
    (void)snprintf(out, 24, "0");
    if (rc == 0) {
        buf_put_u8(&json, 0);
        const char *at = json.failed ? NULL : strstr((const char *)json.data, "\"version\":");
        if (at != NULL) {
            (void)snprintf(out, 24, "%.*s", (int)strspn(at + 10, "0123456789"), at + 10);
        }
    }
    buf_free(&json);
    return rc;
}

static const char *author(void)
{
    const struct passwd *p = getpwuid(geteuid());
    return p != NULL && text_is_id(span_of(p->pw_name)) ? p->pw_name : "somebody";
}

/* The transaction behind `deploy` and `rollback`, sent as itself: under its request id it can
 * be sent again. words[0..count) has room for six more. */
static int send_change(struct session *s, struct span *words, size_t count, int argc, char **argv,
                       struct error *e)
{
    char version[24];
    int rc = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--no-test") != 0) {
            words[count++] = span_of(argv[i]);
        }
    }
    if (!given(argc, argv, "--expect")) {
        rc = newest_version(s, version, e);
        words[count++] = span_of("--expect");
        words[count++] = span_of(version);
    }
    if (!given(argc, argv, "--author")) {
        words[count++] = span_of("--author");
        words[count++] = span_of(author());
    }
    return rc != 0 ? rc : call_and_print(s, words, count, e);
}

static int deploy_program(const struct console_options *o, const char *path, int argc, char **argv)
{
    struct session s = { NULL, NULL };
    struct buf bundle = BUF_INIT, json = BUF_INIT;
    struct error e;
    error_clear(&e);
    int rc = check_words("deploy", argc, argv, &e);
    rc = rc != 0 ? rc : read_compiled(path, &bundle, &e);
    rc = rc != 0 || given(argc, argv, "--no-test") ? rc : run_specs(path, &e);
    rc = rc != 0 ? rc : bundle_json(&bundle, &json, &e);
    rc = rc != 0 ? rc : session_open(&s, o, &e);
    if (rc == 0) {
        struct span *words = mem_must_alloc(((size_t)argc + 8) * sizeof *words);
        words[0] = span_of("deploy-policy");
        words[1] = span_make((const char *)json.data, json.len);
        rc = send_change(&s, words, 2, argc, argv, &e);
        name_verb(&e, "deploy");
        mem_free(words);
    }
    session_close(&s);
    buf_free(&bundle);
    buf_free(&json);
    return rc == 0 ? EXIT_DONE : fail(&e);
}

static int rollback_program(const struct console_options *o, int argc, char **argv)
{
    struct session s = { NULL, NULL };
    struct error e;
    error_clear(&e);
    int rc = check_words("rollback", argc, argv, &e);
    rc = rc != 0 ? rc : session_open(&s, o, &e);
    if (rc == 0) {
        struct span *words = mem_must_alloc(((size_t)argc + 8) * sizeof *words);
        words[0] = span_of("rollback-policy");
        rc = send_change(&s, words, 1, argc, argv, &e);
        name_verb(&e, "rollback");
        mem_free(words);
    }
    session_close(&s);
    return rc == 0 ? EXIT_DONE : fail(&e);
}

/* `diff` and `rehearse` of files: the node's command, with the bundle for the path. */
static int with_bundle(const struct console_options *o, const char *verb, const char *path,
                       int argc, char **argv)
{
    struct buf bundle = BUF_INIT, json = BUF_INIT;
    struct error e;
    error_clear(&e);
    int rc = read_compiled(path, &bundle, &e);
    rc = rc != 0 ? rc : bundle_json(&bundle, &json, &e);
    buf_put_u8(&json, 0);
    int status = EXIT_REFUSED;
    if (rc == 0 && !json.failed) {
        char **words = mem_must_alloc(((size_t)argc + 4) * sizeof *words);
        size_t n = 0;
        words[n++] = (char *)(uintptr_t) "policy";
        words[n++] = (char *)(uintptr_t)verb;
        words[n++] = (char *)json.data;
        for (int i = 0; i < argc; i++) {
            words[n++] = argv[i];
        }
        words[n] = NULL;
        status = oneshot_main(o, (int)n, words);
        mem_free(words);
    } else {
        status = fail(&e);
    }
    buf_free(&bundle);
    buf_free(&json);
    return status;
}

/* A version is a number, a bundle's own JSON begins with a brace; every other word is a path. */
static bool is_path(const char *word)
{
    int64_t number;
    return !text_int64(span_of(word), &number) && word[0] != '{' && word[0] != '-';
}

bool policy_is_local(int argc, char **argv)
{
    return argc == 0 || strcmp(argv[0], "test") == 0 || strcmp(argv[0], "check") == 0;
}

int policy_main(const struct console_options *o, int argc, char **argv)
{
    const char *verb = argc > 0 ? argv[0] : "";
    bool path = argc > 1 && is_path(argv[1]);
    if (strcmp(verb, "test") == 0) {
        return policy_test_main(argc - 1, argv + 1);
    }
    if (strcmp(verb, "check") == 0) {
        return argc == 2 ? check_program(argv[1]) : usage();
    }
    if (o == NULL) {
        return usage();
    }
    if (strcmp(verb, "deploy") == 0 && argc > 1 && argv[1][0] != '{') {
        return argv[1][0] == '-' ? usage() : deploy_program(o, argv[1], argc - 2, argv + 2);
    }
    if (strcmp(verb, "rollback") == 0) {
        return rollback_program(o, argc - 1, argv + 1);
    }
    if (path && (strcmp(verb, "diff") == 0 || strcmp(verb, "rehearse") == 0)) {
        return with_bundle(o, verb, argv[1], argc - 2, argv + 2);
    }
    char **words = mem_must_alloc(((size_t)argc + 2) * sizeof *words);
    words[0] = (char *)(uintptr_t) "policy";
    memcpy(words + 1, argv, (size_t)argc * sizeof *words);
    words[argc + 1] = NULL;
    int status = oneshot_main(o, argc + 1, words);
    mem_free(words);
    return status;
}

/* ---- From a console ------------------------------------------------------------------------- */

/* Words at blanks; paths with blanks are for the shell. */
static size_t split(char *line, char **words, size_t most)
{
    size_t n = 0;
    char *save = NULL;
    for (char *w = strtok_r(line, " \t\r\n", &save); w != NULL && n < most;
         w = strtok_r(NULL, " \t\r\n", &save)) {
        words[n++] = w;
    }
    return n;
}

static bool is_ours(size_t n, char **words)
{
    static const char *const verbs[] = { "deploy", "test", "check", "diff", "rehearse", NULL };
    if (n < 3 || strcmp(words[0], "policy") != 0) {
        return false;
    }
    for (const char *const *verb = verbs; *verb != NULL; verb++) {
        if (strcmp(words[1], *verb) == 0) {
            return is_path(words[2]) && words[2][0] != '"' && words[2][0] != '\'';
        }
    }
    return false;
}

bool policy_line(const struct console_options *o, struct span line, int *status)
{
    char text[4096], addresses[4096];
    char *words[72] = { NULL };
    static char at[] = "--at", format[] = "-w", user[] = "--user", program[] = "usher";
    if (line.len >= sizeof text) {
        return false;
    }
    memcpy(text, line.data, line.len);
    text[line.len] = 0;
    words[0] = program;
    size_t n = split(text, words + 1, 60);
    if (!is_ours(n, words + 1)) {
        return false;
    }
    n++;
    size_t len = 0;
    for (const char *const *a = o->addresses; *a != NULL && len < sizeof addresses; a++) {
        len += (size_t)snprintf(addresses + len, sizeof addresses - len, "%s%s", len > 0 ? "," : "",
                                *a);
    }
    bool local = policy_is_local(1, words + 2);
    if (!local) {
        words[n++] = at;
        words[n++] = addresses;
    }
    if (!local && o->format != NULL) {
        words[n++] = format;
        words[n++] = (char *)(uintptr_t)o->format;
    }
    if (!local && o->user != NULL) {
        words[n++] = user;
        words[n++] = (char *)(uintptr_t)o->user;
    }
    (void)fflush(stdout);
    *status = spawn_self(words, false);
    return true;
}
