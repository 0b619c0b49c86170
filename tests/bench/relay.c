/* A raw relay, TCP to UNIX socket: a process and 64 KiB per connection, no websocket.
 * The limit that consoles are measured against: it does less than any of them. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char buffer[65536];

/* Pass on what there is to read; 0 when that side has ended. */
static int pass(int from, int to) {
    ssize_t length = read(from, buffer, sizeof buffer), sent = 0, n;
    while (sent < length) {
        if ((n = write(to, buffer + sent, length - sent)) <= 0) return 0;
        sent += n;
    }
    return length > 0;
}

static void serve(int viewer, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int guest = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(guest, (struct sockaddr *)&address, sizeof address)) return;
    for (;;) {
        struct pollfd ends[2] = {{viewer, POLLIN, 0}, {guest, POLLIN, 0}};
        if (poll(ends, 2, -1) < 0) return;
        if (ends[0].revents && !pass(viewer, guest)) return;
        if (ends[1].revents && !pass(guest, viewer)) return;
    }
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0), viewer;
    if (count != 3) return 2;
    address.sin_port = htons(atoi(words[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) return 1;
    signal(SIGCHLD, SIG_IGN);
    while ((viewer = accept(listener, 0, 0)) >= 0) {
        if (fork() == 0) {
            close(listener);
            setsockopt(viewer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            serve(viewer, words[2]);
            _exit(0);
        }
        close(viewer);
    }
    return 0;
}
