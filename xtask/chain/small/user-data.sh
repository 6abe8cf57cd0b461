# What cloud-init does in a larger image: asks LXD's guest API for the user data and runs it. The daemon may just be
# restarting, so it is asked for 20 s.
/usr/bin/python3 -S - <<'PY' && exec /run/user-data >/run/user-data.log 2>&1
import os, socket, sys, time

def ask():
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(3)
        api.connect("/dev/lxd/sock")
        api.sendall(b"GET /1.0/config/user.user-data HTTP/1.0\r\nHost: lxd\r\n\r\n")
        head, _, body = b"".join(iter(lambda: api.recv(65536), b"")).partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise OSError(head[:100])
        return body

for _ in range(100):
    try:
        data = ask()
        break
    except OSError as error:
        print(error, file=sys.stderr)
        time.sleep(0.2)
else:
    sys.exit("LXD's guest API did not answer")
with open(os.open("/run/user-data", os.O_WRONLY | os.O_CREAT, 0o700), "wb") as file:
    file.write(data)
PY
