/* `usher demo`: three nodes of profile "default" on localhost, each its own process with
 * data on disk, the cinema imported, and a console on the first node.
 *
 * The nodes are our children and die with us: a signal or the end of the console stops
 * them (SIGTERM, then SIGKILL after a deadline). Their log lines go to files beside their
 * data. Data stays, so the next demo finds its bookings again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/embed.h"
#include "base/mem.h"
#include "console/client.h"
#include "console/console.h"
#include "console/render.h"
#include "script/config.h"

#define DEMO_NODES    3
#define DEMO_START_MS 30000
#define DEMO_STOP_MS  8000

struct demo {
    const char *program, *file;
    struct config config;
    pid_t pids[DEMO_NODES];
    char logs[DEMO_NODES][512];
};

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* In the child: becomes node `id`. */
_Noreturn static void become_node(const struct demo *d, size_t id)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%zu", id);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)setpgid(0, 0); /* Ctrl-C in the console is not for the nodes */
    int null = open("/dev/null", O_RDONLY);
    int log = open(d->logs[id], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (null >= 0 && log >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(log, STDOUT_FILENO);
        (void)dup2(log, STDERR_FILENO);
    }
    const char *args[] = { d->program, "node", "--id", number, "--no-console", NULL, NULL, NULL };
    if (d->file != NULL) {
        args[5] = "--file";
        args[6] = d->file;
    }
    (void)execvp(d->program, (char *const *)(uintptr_t)args);
    (void)fprintf(stderr, "usher demo: cannot run %s: %s\n", d->program, strerror(errno));
    _exit(127);
}

static int start_nodes(struct demo *d, struct error *e)
{
    (void)mkdir("data", 0755);
    (void)mkdir("data/demo", 0755);
    for (size_t i = 0; i < DEMO_NODES; i++) {
        (void)snprintf(d->logs[i], sizeof d->logs[i], "data/demo/node-%zu.log", i);
        pid_t pid = fork();
        if (pid < 0) {
            return error_set(e, ERR_IO, "cannot start node %zu: %s", i, strerror(errno));
        }
        if (pid == 0) {
            become_node(d, i);
        }
        d->pids[i] = pid;
    }
    return 0;
}

static void stop_nodes(struct demo *d)
{
    uint64_t deadline = now_ms() + DEMO_STOP_MS;
    for (size_t i = 0; i < DEMO_NODES; i++) {
        if (d->pids[i] > 0) {
            (void)kill(d->pids[i], SIGTERM);
        }
    }
    for (size_t i = 0; i < DEMO_NODES; i++) {
        while (d->pids[i] > 0 && waitpid(d->pids[i], NULL, WNOHANG) == 0) {
            if (now_ms() > deadline) {
                (void)kill(d->pids[i], SIGKILL);
            }
            (void)poll(NULL, 0, 20);
        }
        d->pids[i] = 0;
    }
}

/* The last line of a node's log: why it ended. */
static void last_line(const char *path, char *out, size_t cap)
{
    char line[1024];
    FILE *in = fopen(path, "re");
    (void)snprintf(out, cap, "see %s", path);
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        (void)snprintf(out, cap, "%.*s", (int)strcspn(line, "\n"), line);
    }
    if (in != NULL) {
        (void)fclose(in);
    }
}

/* A node that ended by itself while the others start is an error to show. */
static int check_alive(struct demo *d, struct error *e)
{
    for (size_t i = 0; i < DEMO_NODES; i++) {
        int status;
        if (waitpid(d->pids[i], &status, WNOHANG) == d->pids[i]) {
            char why[320];
            d->pids[i] = 0;
            last_line(d->logs[i], why, sizeof why);
            return error_set(e, ERR_IO, "node %zu ended: %s", i, why);
        }
    }
    return 0;
}

/* Waits until the cluster answers a linearizable read. */
static int wait_ready(struct demo *d, struct client **out, struct error *e)
{
    const struct client_options co = { .addresses = (const char *const *)d->config.nodes,
                                       .timeout_ms = 2000 };
    const struct span probe[] = { span_of("events"), span_of("--linearizable") };
    uint64_t deadline = now_ms() + DEMO_START_MS;
    while (true) {
        struct buf json = BUF_INIT;
        int code = check_alive(d, e);
        if (code != 0) {
            return code;
        }
        if (*out == NULL) {
            code = client_open(&co, out, e);
        }
        if (code == 0) {
            code = client_call(*out, 2, probe, &json, e);
        }
        buf_free(&json);
        if (code == 0) {
            return 0;
        }
        if (now_ms() > deadline) {
            error_prefix(e, "the nodes did not come up within %d s", DEMO_START_MS / 1000);
            return code;
        }
        (void)poll(NULL, 0, 50);
    }
}

static void print_output(void *arg, struct span kind, struct span text, struct span columns)
{
    (void)arg, (void)kind, (void)columns;
    (void)fprintf(stderr, "%.*s", (int)text.len, text.data);
}

static int import_cinema(struct client *client, struct error *e)
{
    const struct embed_file *script = embed_find("scripts/import-cinema");
    const struct embed_file *data = embed_find("scripts/cinema.json");
    if (script == NULL || data == NULL) {
        return error_set(e, ERR_INTERNAL, "the cinema is not compiled in");
    }
    struct buf traceback = BUF_INIT;
    const struct client_hooks hooks = { .output = print_output, .wake_fd = -1 };
    struct span text = span_make(data->text, data->len);
    int status = client_run(client, span_of("import-cinema.lua"),
                            span_make(script->text, script->len), 1, &text, &hooks, e, &traceback);
    buf_free(&traceback);
    return status == 0 ? 0 : e->code != 0 ? e->code : ERR_INTERNAL;
}

static void greet(const struct demo *d)
{
    (void)fprintf(
        stderr,
        "Three nodes serve on %s, %s, %s; their logs are in data/demo, their data in %s/%s.\n"
        "Try: events   seats 1 --full   hold 1 ann C1 C2   confirm ORDER   nodes   help\n"
        "The nodes end with this console; their data stays.\n",
        d->config.nodes[0], d->config.nodes[1], d->config.nodes[2],
        d->config.data != NULL ? d->config.data : "data", d->config.profile);
}

int demo_main(const char *program, int argc, char **argv)
{
    struct demo d = { .program = program };
    struct error e;
    struct client *client = NULL;
    error_clear(&e);
    if (argc == 2 && strcmp(argv[0], "--file") == 0) {
        d.file = argv[1];
    } else if (argc > 0) {
        (void)fprintf(stderr, "usage: usher demo [--file config.lua]\n");
        return EXIT_USAGE;
    }
    int code = config_load(d.file, NULL, &d.config, &e);
    if (code == 0 && d.config.nodes_count < DEMO_NODES) {
        code =
            error_set(&e, ERR_BADARG, "profile default in %s has %zu nodes, the demo needs three",
                      d.config.file, d.config.nodes_count);
    }
    if (code == 0) {
        code = start_nodes(&d, &e);
    }
    if (code == 0) {
        code = wait_ready(&d, &client, &e);
    }
    if (code == 0) {
        code = import_cinema(client, &e);
    }
    if (client != NULL) {
        client_close(client);
    }
    int status = EXIT_REFUSED;
    if (code == 0) {
        const struct console_options co = { .addresses = (const char *const *)d.config.nodes,
                                            .profile = d.config.profile };
        greet(&d);
        status = console_main(&co);
    } else {
        render_error(&e, span_make("", 0));
    }
    stop_nodes(&d);
    config_free(&d.config);
    return status;
}
