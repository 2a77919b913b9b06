/* Long answers page by page, on a terminal. */
#ifndef USHER_CONSOLE_PAGER_H
#define USHER_CONSOLE_PAGER_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

/* Shows `text` (and a newline) with a pause after each screen: space goes on, Enter shows one
 * more line, q or Ctrl-C leaves. The caller has taken SIGINT (interrupt.h): it must not end us
 * while the terminal reads keys. False, with nothing shown: it fits, or there is no terminal to
 * read keys from. */
bool pager_show(FILE *out, struct span text, bool colour);

#endif
