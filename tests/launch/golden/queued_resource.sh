gcloud compute tpus queued-resources create run-0123456789ab --project=lab --zone=us-east5-b --node-id=run-0123456789ab --accelerator-type=v6e-4 --runtime-version=v2-alpha-tpuv6e --scopes=cloud-platform --metadata-from-file=startup-script=/data/runs/throw/specs/0123456789ab.sh
#!/bin/sh
mkdir -p /data
mount -t nfs 10.0.0.2:/runs /data || exit 1
timeout --kill-after=90 60m docker run --rm --init --privileged --net=host --stop-timeout=90 -v /data:/data -w /data/runs/throw -e PYTHONPATH=/data/runs/throw/snapshot/package:/data/runs/throw/snapshot/config lab/worldmodel:1 sh -c 'exec python -P -m launch.run /data/runs/throw/0123456789ab >/data/runs/throw/0123456789ab/stdout${WORLDMODEL_PROCESS#0}.txt 2>>/data/runs/throw/0123456789ab/log${WORLDMODEL_PROCESS#0}.txt'
gcloud compute tpus queued-resources delete run-0123456789ab --project=lab --zone=us-east5-b --force --quiet --async
