/* What was typed, over sessions: one file, appended line by line so that several consoles may
 * share it and a kill loses nothing. */
#ifndef USHER_CONSOLE_HISTORY_H
#define USHER_CONSOLE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define HISTORY_LINES 2000

/* $XDG_STATE_HOME/usher/history (the folders are made), else ~/.usher_history; false when
 * there is no home. */
bool history_path(char *path, size_t cap);
/* Calls cb for each statement, oldest first, at most the newest HISTORY_LINES; a file that has
 * grown to twice as many is cut to these. What it is given is NUL-ended. */
void history_load(const char *path, void (*cb)(void *arg, const char *statement), void *arg);
/* Appends one statement, which may have several lines. The file is readable by its owner only. */
void history_append(const char *path, struct span statement);

#endif
