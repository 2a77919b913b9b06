/* Passwords at the terminal: `usher config password`, and the one of --user NAME. */
#ifndef USHER_CONSOLE_PASSWORD_H
#define USHER_CONSOLE_PASSWORD_H

#include "base/error.h"

/* The password of --user: $USHER_PASSWORD, else the first line of the file that
 * $USHER_PASSWORD_FILE names, else asked for at the terminal without showing it. Freed with
 * password_free; without a user *out is NULL (and 0 returned), whatever the variables say. */
int password_find(const char *user, char **out, struct error *e);
void password_free(char *password);
/* `usher config password`: asks (twice at a terminal, one line of standard input otherwise) and
 * prints the hash that belongs into config.lua. Returns the program's exit status. */
int password_main(void);

#endif
