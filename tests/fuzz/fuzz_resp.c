/* libFuzzer: any bytes on a RESP connection, in pieces of any size. The server, the service
 * behind it and the loop are the real ones; a node command echoes its words. The first byte
 * of the input chooses the size of the pieces. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/resp/resp.h"
#include "raftio/env_uv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uv_loop_t loop;
static struct service *service;
static struct resp *resp;

static void tell(void *arg, struct request *r, const struct call *call)
{
    (void)arg;
    (void)call;
    service_answer(service, r, 0, NULL, r->argc > 1 ? r->argv[r->argc - 1] : span_of("null"));
}

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static char *text(const char *s) { return mem_strndup(s, strlen(s)); }

static void start(void)
{
    struct error e;
    struct env *env = NULL;
    struct registry *registry = registry_new();
    struct command_def *def = mem_zalloc(sizeof *def);
    log_set_level(LOG_NONE);
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    def->name = text("tell");
    def->group = text("test");
    def->summary = text("Say it again");
    def->example = text("tell a");
    def->kind = COMMAND_NODE;
    def->aliases = mem_zalloc(sizeof *def->aliases);
    def->args = mem_zalloc(sizeof *def->args);
    def->args_count = 1;
    def->args[0].name = text("words");
    def->args[0].type = ARG_STRING;
    def->args[0].many = true;
    def->args[0].optional = true;
    must(registry_add(registry, def, &e) == 0);
    must(uv_loop_init(&loop) == 0 && env_uv_new(&loop, &env, &e) == 0);
    struct service_options so = { .env = env, .registry = registry, .node_command = tell };
    must(service_new(&so, &service, &e) == 0);
    struct resp_options ro = { .loop = &loop, .env = env, .service = service };
    must(resp_new(&ro, &resp, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    struct error e;
    char trash[65536];
    if (service == NULL) {
        start();
    }
    if (size < 2) {
        return 0;
    }
    /* Short inputs in pieces down to one byte; long ones in eight, since each costs a turn of
     * the loop and several system calls. */
    size_t piece = data[0] < 250 ? (size_t)data[0] + 1 : size;
    piece = size > 64 && piece < size / 8 ? size / 8 : piece;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    must(resp_accept(resp, fds[0], &e) == 0);
    for (size_t at = 1; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        if (send(fds[1], data + at, n, MSG_NOSIGNAL) < 0) {
            break; /* it closed on us, or waits for us to read */
        }
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        while (read(fds[1], trash, sizeof trash) > 0) {
        }
    }
    (void)close(fds[1]);
    for (int i = 0; i < 100 && resp_connections(resp) > 0; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    must(resp_connections(resp) == 0);
    return 0;
}
