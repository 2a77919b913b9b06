/* Rebuilding a node from the others, in one command.
 *
 *   lock and look at the directory -> rename it to DIR.damaged-TIME -> the node starts empty,
 *   with a new random id -> `replace-node ADDR ADDR` at the others, until it is done
 *
 * What was acknowledged with the old files may be lost in them, so their id must never vote
 * again: the new directory has another id, and the cluster puts it in the place of the old one
 * only by a logged change that a majority of the old configuration agrees to. Without such a
 * majority nothing changes and the node waits.
 *
 * How it fails: a command that cannot reach the others or is refused is told and tried again
 * for some minutes (the node is up meanwhile and says what it waits for); then the line to run
 * by hand is printed. A start without --rebuild goes on from there.
 *
 * Invariants
 *   1 nothing is deleted
 *   2 a directory that holds no vote, entry or snapshot is not moved: running the command twice
 *     costs nothing */
#include "console/rebuild.h"

#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "raftio/env_uv.h"
#include "raftio/journal_inspect.h"

#define TRIES       40
#define TRY_EVERY_S 5

extern char **environ;

/* Whether it holds anything that the cluster could miss; ERR_CONFLICT while a node runs on it. */
static int look(const char *dir, bool *used, struct error *e)
{
    uv_loop_t loop;
    struct env *env;
    struct journal_inspection in;
    *used = false;
    if (uv_loop_init(&loop) != 0) {
        return error_set(e, ERR_IO, "out of descriptors");
    }
    int rc = env_uv_new(&loop, &env, e);
    if (rc == 0) {
        rc = journal_inspect(env, dir, &in, e);
        *used = in.damage_count > 0 || in.found.term > 0 || in.found.entries_count > 0 ||
                in.snapshots_count > 0;
        journal_inspection_free(&in);
        env_uv_free(env);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    }
    (void)uv_loop_close(&loop);
    if (rc == ERR_NOTFOUND) {
        error_clear(e);
        return 0;
    }
    return rc;
}

static int move_aside(const char *dir, struct error *e)
{
    char to[4200], stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/') {
        len--;
    }
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    int n = snprintf(to, sizeof to, "%.*s.damaged-%s", (int)len, dir, stamp);
    if (n < 0 || (size_t)n >= sizeof to || rename(dir, to) != 0) {
        error_set(e, ERR_IO, "cannot move %s aside: %s", dir, strerror(errno));
        error_hint(e, "move it away by hand, then start again with --rebuild");
        return ERR_IO;
    }
    (void)fprintf(stderr, "the old files are in %s; delete them when the node is back\n", to);
    return 0;
}

static size_t count_others(const struct rebuild_options *o)
{
    size_t n = 0;
    for (size_t i = 0; o->nodes[i] != NULL; i++) {
        n += strcmp(o->nodes[i], o->address) != 0;
    }
    return n;
}

int rebuild_prepare(const struct rebuild_options *o, struct error *e)
{
    bool used;
    if (count_others(o) == 0) {
        error_set(e, ERR_CONFLICT, "%s is the only node of the profile: nobody to rebuild from",
                  o->address);
        error_hint(e, "restore a backup: usher restore FILE");
        return ERR_CONFLICT;
    }
    int rc = look(o->dir, &used, e);
    return rc == 0 && used ? move_aside(o->dir, e) : rc;
}

/* ---- Asking the others ------------------------------------------------------ */

struct join {
    char *address, *others, *user, *program;
};

static int run_once(const struct join *j)
{
    char *argv[] = { j->program,
                     (char *)(uintptr_t) "replace-node",
                     j->address,
                     j->address,
                     (char *)(uintptr_t) "--yes",
                     (char *)(uintptr_t) "--at",
                     j->others,
                     j->user != NULL ? (char *)(uintptr_t) "--user" : NULL,
                     j->user,
                     NULL };
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = 0;
    if (posix_spawn_file_actions_init(&files) != 0) {
        return -1;
    }
    int rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", 0, 0);
    rc = rc != 0 ? rc : posix_spawn(&pid, "/proc/self/exe", &files, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    if (rc != 0) {
        (void)fprintf(stderr, "cannot start %s: %s\n", j->program, strerror(rc));
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *join_main(void *arg)
{
    struct join *j = arg;
    int status = 1;
    for (int i = 0; i < TRIES && status != 0; i++) {
        status = run_once(j);
        if (status != 0) {
            (void)sleep(TRY_EVERY_S);
        }
    }
    if (status != 0) {
        (void)fprintf(stderr,
                      "the others have not taken this node back; once a majority of them runs: "
                      "usher replace-node %s %s --at %s\n",
                      j->address, j->address, j->others);
    }
    mem_free(j->address);
    mem_free(j->others);
    mem_free(j->user);
    mem_free(j->program);
    mem_free(j);
    return NULL;
}

static char *copy(const char *text) { return mem_strndup(text, strlen(text)); }

void rebuild_join(const struct rebuild_options *o)
{
    pthread_t thread;
    struct buf others = BUF_INIT;
    struct join *j = mem_must_alloc(sizeof *j);
    for (size_t i = 0; o->nodes[i] != NULL; i++) {
        if (strcmp(o->nodes[i], o->address) != 0) {
            buf_put(&others, ",", others.len > 0);
            buf_put(&others, o->nodes[i], strlen(o->nodes[i]));
        }
    }
    buf_put_u8(&others, 0);
    *j = (struct join){ .address = copy(o->address),
                        .others = (char *)others.data,
                        .user = o->user != NULL ? copy(o->user) : NULL,
                        .program = copy(o->program) };
    if (pthread_create(&thread, NULL, join_main, j) == 0) {
        (void)pthread_detach(thread);
    } else {
        log_warn("out of threads; run: usher replace-node %s %s", o->address, o->address);
    }
}
