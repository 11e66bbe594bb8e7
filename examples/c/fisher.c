/* Takes turns over the raw protocol: docs/PROTOCOL.md.
 *
 *     cc -o fisher fisher.c && ./fisher SOCKET MODULE TURNS LOG
 *
 * At the beginning and the end of each turn it writes a line to LOG, which shows whether turns overlap.
 * A real program uses a JSON library. This one searches for the few texts that it needs. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

/* Reads lines up to the final answer to the frame that was sent. Skips notices and the answer that it waits. */
static void answer(FILE *from, char *line, size_t size) {
    do {
        if (!fgets(line, (int)size, from)) fail("lost: the connection is closed");
    } while (strstr(line, "\"notice\":") || strstr(line, "\"waiting\":true"));
    if (!strstr(line, "\"ok\":true")) fail(line);
}

/* Returns the value of a field that is a number or a text of digits. */
static unsigned long long number(const char *line, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    if (!at) fail("a field is missing");
    at += strlen(quoted);
    if (*at == '"') at++;
    return strtoull(at, NULL, 10);
}

static void note(int log, const char *what, unsigned long long token) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s %llu\n", what, token);
    if (write(log, line, (size_t)length) != length) fail("the log cannot be written");
}

int main(int count, char **args) {
    if (count != 5) fail("usage: fisher SOCKET MODULE TURNS LOG");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(args[1]) >= sizeof address.sun_path) fail("the path is too long");
    strcpy(address.sun_path, args[1]);
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
    FILE *to = fdopen(connection, "w"), *from = fdopen(dup(connection), "r");
    int log = open(args[4], O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (!to || !from || log < 0) fail("cannot open");

    char line[65536];
    fprintf(to, "{\"id\":1,\"op\":\"hello\",\"version\":1}\n");
    fflush(to);
    answer(from, line, sizeof line);
    for (int turn = 0; turn < atoi(args[3]); turn++) {
        fprintf(to, "{\"id\":2,\"op\":\"acquire\",\"module\":\"%s\"}\n", args[2]);
        fflush(to);
        answer(from, line, sizeof line);
        unsigned long long request = number(line, "request"), token = number(line, "token");
        note(log, "begin", token);
        usleep(1000);
        note(log, "end", token);
        fprintf(to, "{\"id\":3,\"op\":\"release\",\"request\":%llu}\n", request);
        fflush(to);
        answer(from, line, sizeof line);
    }
    return 0;
}
