# shellcheck shell=bash
# nginx on each bridge host, and a server that speaks first; neither knows of SpliceLB.

backends_prepare() {
    local i
    head -c 100M /dev/urandom >"$RUN/www/file/100m.bin"
    backends_certificate
    for i in "${BRIDGES[@]}"; do
        mkdir -p "$RUN/b$i/upload"
        nginx_conf "$i" >"$RUN/b$i/nginx.conf"
    done
}

# One certificate for every backend: a client of the lab trusts it, whichever it gets.
backends_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=lab.test" \
        -addext "subjectAltName=DNS:lab.test,DNS:*.lab.test" \
        -keyout "$RUN/tls.key" -out "$RUN/tls.crt" 2>"$RUN/log/openssl.log"
}

nginx_conf() {
    local i=$1
    cat <<CONF
# The backend of b$i. Requests come with the client's own address, as if there were nothing before nginx.
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid $RUN/b$i/nginx.pid;
error_log $RUN/log/nginx$i.log warn;
events { worker_connections 8192; }
http {
    log_format seen '\$remote_addr \$remote_port "\$request" \$status \$body_bytes_sent';
    log_format tls_seen '\$remote_addr \$ssl_server_name \$ssl_protocol \$server_protocol \$request_uri \$http_user_agent';
    access_log $RUN/log/access$i.log seen;
    client_body_temp_path $RUN/b$i/body;
    proxy_temp_path $RUN/b$i/proxy;
    fastcgi_temp_path $RUN/b$i/fastcgi;
    uwsgi_temp_path $RUN/b$i/uwsgi;
    scgi_temp_path $RUN/b$i/scgi;
    default_type application/octet-stream;
    sendfile on;
    keepalive_timeout 1200s;
    keepalive_requests 100000;
    client_header_buffer_size 4k;
    large_client_header_buffers 8 32k;
    client_max_body_size 64m;
    server {
        listen $(backend4 "$i"):80 backlog=8192;
        listen [$(backend6 "$i")]:80 backlog=8192;
        add_header X-Bridge b$i always;
        add_header X-Remote \$remote_addr always;
        location / { return 200 "b$i \$remote_addr \$remote_port \$request_uri\n"; }
        location /file/ { root $RUN/www; }
        location /upload/ { root $RUN/b$i; dav_methods PUT; }
        location = /status { access_log off; stub_status; }
    }
    server {
        listen $(backend4 "$i"):443 ssl http2 backlog=8192;
        listen [$(backend6 "$i")]:443 ssl http2 backlog=8192;
        ssl_certificate $RUN/tls.crt;
        ssl_certificate_key $RUN/tls.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        access_log $RUN/log/tls$i.log tls_seen;
        location / { return 200 "b$i \$remote_addr \$ssl_protocol \$server_protocol \$ssl_server_name\n"; }
        # A page whose browser asks for four other names.
        location = /page {
            default_type text/html;
            return 200 "<p>b$i</p>$(printf '<img src=//image-%s.lab.test/image>' 1 2 3 4)";
        }
        location = /image { return 204; }
    }
    # What an outer proxy asks, which tells its client in a PROXY header.
    server {
        listen $(backend4 "$i"):8081 proxy_protocol;
        listen [$(backend6 "$i")]:8081 proxy_protocol;
        listen $(backend4 "$i"):8082 proxy_protocol;
        listen [$(backend6 "$i")]:8082 proxy_protocol;
        access_log off;
        location / { return 200 "b$i \$remote_addr \$proxy_protocol_addr,\$proxy_protocol_port \$request_uri\n"; }
    }
    # The host's own service, on the very address that the balancer sends marked packets to.
    server {
        listen $(bridge4 "$i"):80;
        listen [$(bridge6 "$i")]:80;
        location / { return 200 "own service of b$i\n"; }
        location = /status { access_log off; stub_status; }
    }
}
CONF
}

# shellcheck disable=SC2034  # read by program_start
backend_command() {
    case $1 in
    nginx?) COMMAND=(nginx -p "$RUN/b${1#nginx}" -c "$RUN/b${1#nginx}/nginx.conf" -e "$RUN/log/$1.log") ;;
    greeter?) COMMAND=(python3 "$LAB_DIR/greeter.py" "b${1#greeter}" 2525
        "$(backend4 "${1#greeter}")" "$(backend6 "${1#greeter}")") ;;
    esac
}

nginx_answers() {
    on "b$1" curl -sf -o /dev/null "http://$(backend4 "$1")/" && on "b$1" curl -sf -o /dev/null "http://[$(backend6 "$1")]/"
}
greeter_answers() { on "b$1" ss -Hltn "sport = 2525" | grep -q "fd33"; }
