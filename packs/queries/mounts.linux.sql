-- File systems that are mounted, and with which options; without those of containers and of sessions, which come
-- and go.
SELECT device, path, type, flags
FROM mounts
WHERE type NOT IN ('overlay', 'nsfs', 'autofs') AND path NOT LIKE '/var/lib/docker/%'
  AND path NOT LIKE '/var/lib/containers/%' AND path NOT LIKE '/var/lib/kubelet/%' AND path NOT LIKE '/run/user/%'
  AND path NOT LIKE '/run/containerd/%' AND path NOT LIKE '/run/docker/%' AND path NOT LIKE '/run/credentials/%';
