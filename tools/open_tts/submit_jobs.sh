#!/bin/bash
# Submits our backend to the Open TTS Leaderboard from a copy of this folder in its repository (mamtra/).
#   MODEL=/models/student SYSTEM=/models/CosyVoice2-0.5B VOICE_CLONE=true bash mamtra/submit_jobs.sh "me/mamtra-1to1"
# MODEL and SYSTEM are folders in the image TTS_SPACE, which has to have mamtra[cosyvoice2] installed.
source "$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/scripts/tts_jobs_common.sh"

TTS_SPACE="${TTS_SPACE:?a public Docker Space with mamtra installed and the model in it}"
MODEL="${MODEL:?the folder of the exported model in that image}"
SYSTEM="${SYSTEM:?the folder of the codec in that image}"
SUPPORTS_VOICE_CLONE=true
RUN_EVAL_INJECT="$(inject_run_eval)"

generate_stage() {
    hf jobs run \
        --flavor "${FLAVOR}" --timeout 8h --secrets HF_TOKEN ${NAMESPACE_ARG} \
        --volume "hf://buckets/${RESULTS_BUCKET}:/results" "${TTS_IMAGE}" \
        bash -c "
            ${RUN_EVAL_INJECT}
            cd /app/mamtra && python run_eval.py \
                --model_id=${MODEL_ID} --model=${MODEL} --system=${SYSTEM} \
                --dataset_path=${DATASET_PATH} --dataset=${DATASET} --split=${SPLIT} \
                ${VOICE_CLONE_FLAG} --device=cuda:0 --max_eval_samples=${MAX_EVAL_SAMPLES} &&
            mkdir -p /results && cp -r results/${MODEL_SAFE} /results/
        "
}

DATASET_CONFIGS=("tts en en" "tts zh zh")
MODEL_CONFIGS=("$@")
run_pipeline
