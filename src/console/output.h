/* The standard output of a program that lives to print: an answer that could not be written is
 * a failure, and a reader that went away is the end. */
#ifndef USHER_CONSOLE_OUTPUT_H
#define USHER_CONSOLE_OUTPUT_H

#include <stdio.h>

/* At the start of any program: standard descriptors that were closed become /dev/null, so that no
 * socket gets their numbers; writing to standard output goes on to fail. */
void output_open(void);
/* From here on output is a convenience: a node goes on without it. */
void output_optional(void);
/* Hands on what has been written to `out`. A failure ends the process, unless it is optional. */
void output_flush(FILE *out);
/* The program's end: `status`, if standard output got everything. */
int output_end(int status);

#endif
