#!/bin/sh
# Certificates for Crier over TCP: a private authority, and what it signs.
#
#	./certificates.sh authority             once
#	./certificates.sh provider UID HOST...  dialled by these names and addresses
#	./certificates.sh client UID NAME       known as spiffe://example.org/NAME
#
# UID is whom the key is for, the user of the container: nobody else can read it.
# The same line again renews a certificate. It keeps the key, and writes to the file
# that there is: a container that has it mounted would not see another one.
#
# CERTS is where all goes that containers get (./certs), AUTHORITY where the key of
# the authority stays (./authority): if you can, on a machine that runs no
# containers. DAYS is for how long a certificate is good (30), DOMAIN whose it is.
set -eu
certs=${CERTS:-./certs} authority=${AUTHORITY:-./authority}
days=${DAYS:-30} domain=${DOMAIN:-example.org}
umask 077

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

new_authority() {
	mkdir -p "$authority"
	new_key "$authority/ca.key"
	openssl req -new -x509 -key "$authority/ca.key" -days 3650 -subj "/CN=authority of $domain" \
		-addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign \
		-out "$authority/ca.pem"
	install -d -m 755 "$certs"
	install -m 644 "$authority/ca.pem" "$certs/ca.pem"
}

# issue writes a certificate. Crier looks at the names and at extendedKeyUsage: a
# client's is no good for a provider, nor the other way round.
issue() { # NAME UID SUBJECT-ALT-NAMES USAGE
	key=$certs/$1.key cert=$certs/$1.pem
	[ -e "$key" ] || new_key "$key"
	request=$(openssl req -new -key "$key" -subj "/CN=$1" -addext basicConstraints=critical,CA:FALSE \
		-addext keyUsage=critical,digitalSignature -addext "extendedKeyUsage=$4" -addext "subjectAltName=$3")
	signed=$(echo "$request" | openssl x509 -req -CA "$authority/ca.pem" -CAkey "$authority/ca.key" \
		-copy_extensions copy -days "$days")
	echo "$signed" >"$cert"
	chmod 644 "$cert"
	chmod 400 "$key"
	chown "$2" "$key"
}

# names writes hosts as subjectAltName has them.
names() {
	list=
	for host; do
		case $host in
		*:*) list=$list,IP:$host ;;
		*[!0-9.]*) list=$list,DNS:$host ;;
		*) list=$list,IP:$host ;;
		esac
	done
	echo "${list#,}"
}

usage() {
	sed -n 's/^#	/usage: /p' "$0" >&2
	exit 2
}

case ${1-} in
authority)
	[ ! -e "$authority/ca.key" ] || { echo "$0: there is one already, $authority/ca.key" >&2 && exit 1; }
	new_authority
	;;
provider)
	[ $# -ge 3 ] || usage
	uid=$2
	shift 2
	issue provider "$uid" "$(names "$@")" serverAuth
	;;
client)
	[ $# -eq 3 ] || usage
	issue "$3" "$2" "URI:spiffe://$domain/$3" clientAuth
	;;
*) usage ;;
esac
