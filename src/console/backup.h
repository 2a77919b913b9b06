/* Backups as the operator's programs make and take them: files on this machine. */
#ifndef USHER_CONSOLE_BACKUP_H
#define USHER_CONSOLE_BACKUP_H

#include <signal.h>

#include "base/buf.h"
#include "base/error.h"
#include "console/client.h"

/* True when these words are `backup FILE [--stale]`, which this machine carries out. */
bool backup_is(size_t argc, const struct span *argv);
/* Writes FILE: read over the client's connection (from another node when that breaks before
 * anything came), checked, synced, named. `json`: what it holds. `note`: a sentence for the
 * user. `interrupts` as in client_hooks. */
int backup_take(struct client *c, size_t argc, const struct span *argv,
                const volatile sig_atomic_t *interrupts, struct buf *json, struct buf *note,
                struct error *e);

/* The same for a console's line: false when it is not `backup FILE`. */
bool backup_line(struct client *c, struct span line, const volatile sig_atomic_t *interrupts,
                 struct buf *json, struct buf *note, int *code, struct error *e);

/* `usher restore FILE`: DIR becomes the first node, at `address`, of a new cluster. */
int restore_main(const char *format, const char *file, const char *dir, const char *address);

struct recover_options {
    const char *const *dirs;     /* NULL-ended; the first is the one to recover */
    const char *user, *password; /* for asking the other members */
    bool yes;
};
/* `usher recover DATADIR [OTHER...]` */
int recover_main(const struct recover_options *options);

#endif
